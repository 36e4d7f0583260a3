//! The bytes of the journal's events, of every schema ever released.
//!
//! `tests/golden/journal/v1/NAME.bin` is one event in schema 1 and `NAME.json` what it means. A
//! file is never changed: `GOLDEN_ADD=1` writes those that are missing, for a new kind of event.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use fulgurite_core::{
    BatchId, Event, FeePolicy, Msat, Order, PaymentHash, PaymentId, Preimage, UnixMs,
    event::{
        AttemptStarted, Contradiction, Failure, NeverSent, Next, PauseReason, PaymentChange,
        Resolution, SendBounds, Verdict,
    },
    order::{Accepted, BatchOptions, Priority, RefusedRow, RowReason, Sealed},
    port::FailureReason,
    standing::{NodeChange, Quarantine},
};
use fulgurite_journal::{codec, dump::event_json};
use serde_json::Value;

const TIME: UnixMs = UnixMs(1_790_000_000_123);
const BATCH: BatchId = BatchId::from_uuid(0x0199_aaaa_bbbb_7ccc_8ddd_eeee_0000_0000);

fn folder() -> PathBuf {
    fulgurite_tests::root().join("tests/golden/journal/v1")
}

#[test]
fn every_released_event_decodes_and_encodes_to_the_same_bytes() {
    let files = fs::read_dir(folder()).expect("the golden files are here");
    let mut count = 0;
    for path in files.map(|file| file.expect("a file").path()) {
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let golden = fs::read(&path).expect("the file is readable");
        let events = codec::decode_events(1, &golden, 1);
        let events = events.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut bytes = Vec::new();
        codec::encode_event(&events[0], &mut bytes);
        assert_eq!(hex::encode(bytes), hex::encode(golden), "{}", path.display());
        let meaning = fs::read(path.with_extension("json")).expect("its meaning");
        let meaning: Value = serde_json::from_slice(&meaning).expect("JSON");
        assert_eq!(meaning, json(&events[0]), "{}", path.display());
        count += 1;
    }
    assert!(count >= samples().len(), "{count} golden files");
}

#[test]
fn every_kind_of_event_has_its_golden_file() {
    for (name, event) in samples() {
        let path = folder().join(format!("{name}.bin"));
        let mut bytes = Vec::new();
        codec::encode_event(&event, &mut bytes);
        if std::env::var_os("GOLDEN_ADD").is_some() && !path.exists() {
            fs::create_dir_all(folder()).expect("the folder can be made");
            fs::write(&path, &bytes).expect("the file can be written");
            let json = format!("{:#}\n", json(&event));
            fs::write(path.with_extension("json"), json).expect("the file can be written");
        }
        let golden = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(hex::encode(&bytes), hex::encode(&golden), "{name}");
        assert_eq!(codec::decode_events(1, &golden, 1).as_deref(), Ok(&[event][..]), "{name}");
    }
}

#[test]
fn no_event_decodes_when_cut_or_with_bytes_behind_it() {
    for (name, event) in samples() {
        let mut bytes = Vec::new();
        codec::encode_event(&event, &mut bytes);
        for length in 0..bytes.len() {
            assert!(codec::decode_events(1, &bytes[..length], 1).is_err(), "{name} at {length}");
        }
        bytes.push(0);
        assert!(codec::decode_events(1, &bytes, 1).is_err(), "{name} with a byte behind it");
    }
}

#[test]
fn sample_names_are_unique() {
    let names: BTreeSet<String> = samples().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), samples().len());
}

fn json(event: &Event) -> Value {
    Value::Object(event_json(event, true))
}

/// One event of each kind, and each kind of value within them.
fn samples() -> Vec<(String, Event)> {
    let (batch, time) = (BATCH, TIME);
    let mut all = vec![
        named("barrier", Event::Barrier),
        named("engine_started", Event::EngineStarted { epoch: 7, time, version: "0.1.0".into() }),
        named("orders_added", Event::OrdersAdded { batch, orders: Arc::new(orders()) }),
        named("batch_accepted", Event::BatchAccepted(Arc::new(accepted(false)))),
        named("batch_accepted_single", Event::BatchAccepted(Arc::new(accepted(true)))),
        named(
            "send_bounds",
            Event::SendBounds(SendBounds { expiry_ms: 15_001, deadline_ms: 10_000 }),
        ),
        named("installed", Event::Installed { installation: 0x7fff_0001 }),
        named("node_compared", Event::NodeCompared { node: "a".into(), until: time, live: true }),
        named(
            "paid_elsewhere",
            Event::PaidElsewhere {
                node: "a".into(),
                hashes: Arc::new(vec![PaymentHash([1; 32]), PaymentHash([2; 32])]),
                time,
            },
        ),
        named("not_alone", Event::NotAlone { node: "a".into(), epoch: 9, time }),
        named("taken_over", Event::TakenOver { time }),
        named("upload_dropped", Event::UploadDropped { batch }),
        named("batch_resumed", Event::BatchResumed { batch, time }),
        named("batch_cancel_requested", Event::BatchCancelRequested { batch, time }),
        named("batch_finished", Event::BatchFinished { batch, time }),
        named(
            "payments_cancelled",
            Event::PaymentsCancelled { batch, rows: Arc::new(vec![1, 7, 100_000]), time },
        ),
    ];
    for reason in [PauseReason::Requested, PauseReason::StartPaused, PauseReason::FailureThreshold]
    {
        let name = format!("batch_paused_{}", reason as u8);
        all.push((name, Event::BatchPaused { batch, reason, time }));
    }
    all.extend(
        node_changes()
            .into_iter()
            .map(|(name, change)| named(name, Event::Node { node: "alice".into(), time, change })),
    );
    all.extend(
        changes().into_iter().map(|(name, change)| {
            (name, Event::Payment { payment: BATCH.payment(42), time, change })
        }),
    );
    all
}

fn named(name: &str, event: Event) -> (String, Event) {
    (name.to_owned(), event)
}

fn node_changes() -> Vec<(&'static str, NodeChange)> {
    let identity_pubkey: Arc<[u8]> = [0x02; 33].into();
    let by = Sealed::plain("ada");
    let checked = Sealed::plain("its channels and its last payments");
    vec![
        ("node_identified", NodeChange::Identified { identity_pubkey: identity_pubkey.clone() }),
        ("node_quarantined_1", NodeChange::Quarantined(Quarantine::IdentityChanged)),
        ("node_quarantined_2", NodeChange::Quarantined(Quarantine::PaymentForgotten)),
        ("node_trusted", NodeChange::Trusted { identity_pubkey, by: by.clone(), checked }),
        ("node_drained", NodeChange::Drained { by: by.clone() }),
        ("node_undrained", NodeChange::Undrained { by }),
        ("node_quarantined_3", NodeChange::Quarantined(Quarantine::Lost)),
        ("node_paid_after_all", NodeChange::PaidAfterAll(BATCH.payment(42))),
    ]
}

fn changes() -> Vec<(String, PaymentChange)> {
    let (attempt, preimage) = (2, Preimage([0x5a; 32]));
    let retry = Next::Retry { not_before: TIME.plus_ms(2_000) };
    let mut all = vec![
        ("attempt_started".to_owned(), attempt_started()),
        (
            "attempt_settled".to_owned(),
            PaymentChange::AttemptSettled { attempt, preimage, fee_paid: msat(1_234) },
        ),
        ("payment_cancelled".to_owned(), PaymentChange::Cancelled),
    ];
    for (number, reason) in (0..).zip([
        FailureReason::Unknown,
        FailureReason::Timeout,
        FailureReason::NoRoute,
        FailureReason::Error,
        FailureReason::IncorrectPaymentDetails,
        FailureReason::InsufficientBalance,
        FailureReason::Canceled,
    ]) {
        let next = if number == 0 { Next::Cancelled } else { retry };
        let change = PaymentChange::AttemptFailed { attempt, reason, next };
        all.push((format!("attempt_failed_{number}"), change));
    }
    for cause in [
        NeverSent::InvoiceExpired,
        NeverSent::SelfPayment,
        NeverSent::Invalid,
        NeverSent::Withdrawn,
        NeverSent::NotDelivered,
    ] {
        let next = Next::Failed(Failure::InvoiceExpired);
        let change = PaymentChange::AttemptNeverSent { attempt, cause, next };
        all.push((format!("attempt_never_sent_{}", cause as u8), change));
    }
    for failure in Failure::ALL {
        all.push((format!("payment_failed_{}", failure as u8), PaymentChange::Failed(failure)));
    }
    for contradiction in [
        Contradiction::WrongPreimage,
        Contradiction::PaidTooMuch,
        Contradiction::SucceededAfterFinal,
        Contradiction::PaidBefore,
        Contradiction::Forgotten,
    ] {
        let change = PaymentChange::Contradicted { attempt, contradiction };
        all.push((format!("contradicted_{}", contradiction as u8), change));
    }
    all.push(("attempt_confirmed".into(), PaymentChange::AttemptConfirmed { attempt }));
    all.push(("attempt_suspended".into(), PaymentChange::AttemptSuspended { attempt }));
    all.push(("attempt_stuck".into(), PaymentChange::AttemptStuck { attempt }));
    for (name, verdict) in
        [("resolved_paid", Verdict::Paid(preimage)), ("resolved_not_paid", Verdict::NotPaid)]
    {
        let (by, reason) = (Sealed::plain("ada"), Sealed::plain("no HTLC lives"));
        let resolution = Arc::new(Resolution { verdict, by, reason });
        all.push((name.into(), PaymentChange::Resolved(resolution)));
    }
    all
}

fn attempt_started() -> PaymentChange {
    PaymentChange::AttemptStarted(Arc::new(AttemptStarted {
        attempt: 2,
        node: "alice".into(),
        epoch: 7,
        amount: msat(1_000_000),
        fee_limit: msat(5_000),
        channels: vec![(0x0c_5000_0001_0001, msat(1_005_000)), (u64::MAX, Msat::ZERO)],
        cltv_limit: 1_008,
        timeout_seconds: 30,
        send_until: TIME.plus_ms(600_000),
    }))
}

fn orders() -> Vec<(u32, Arc<Order>)> {
    let plain = Order {
        invoice: "lnbcrt10u1pexample".into(),
        payment_hash: PaymentHash([0xab; 32]),
        payee: Some([0x02; 33]),
        amount: msat(1_000_000),
        amount_in_send: false,
        fee_limit: msat(5_000),
        invoice_expiry: TIME.plus_ms(3_600_000),
        deadline: Some(TIME.plus_ms(1_800_000)),
        reference: Some(Sealed::plain("Löhne 11/2026")),
    };
    let encrypted = Sealed { key_id: 9, bytes: [0xff, 0x00, 0x80].as_slice().into() };
    let other = Order {
        payment_hash: PaymentHash([0xcd; 32]),
        payee: None,
        amount: Msat::MAX,
        amount_in_send: true,
        deadline: None,
        reference: Some(encrypted),
        ..plain.clone()
    };
    vec![(1, Arc::new(plain)), (100_000, Arc::new(other))]
}

fn accepted(single: bool) -> Accepted {
    let refused = RowReason::ALL.map(|reason| RefusedRow {
        row: reason as u32,
        reference: (reason == RowReason::Malformed).then(|| Sealed::plain("first")),
        reason,
        message: format!("reason {}", reason as u8).into(),
        field: "bolt11",
        payment: (reason == RowReason::HashClaimed).then(|| BATCH.payment(3)),
        other_row: (reason == RowReason::DuplicateHash).then_some(4),
    });
    Accepted {
        batch: BATCH,
        account: "default".into(),
        idempotency_key: "file:sha256-00".into(),
        fingerprint: [0x11; 32],
        content_digest: if single { "".into() } else { "sha256-00".into() },
        single,
        options: BatchOptions {
            start_paused: !single,
            accept_valid: !single,
            priority: if single { Priority::High } else { Priority::Low },
            in_flight_max: 1_000,
            payments_per_second_max: 250,
            per_destination_in_flight_max: 3,
            failed_count_max: 10,
            failed_percent_max: 5,
            fee_policy: FeePolicy { base: msat(10_000), proportional_ppm: 5_000 },
            deadline: (!single).then(|| TIME.plus_ms(86_400_000)),
            attempts_max: 100,
            cltv_limit_blocks: 1_008,
        },
        description: (!single).then(|| Sealed::plain("payroll")),
        metadata: vec![(Sealed::plain("month"), Sealed::plain("11"))],
        order_count: if single { 1 } else { 100_000 },
        refused: if single { Vec::new() } else { refused.to_vec() },
        amount: msat(1_000_000),
        fee_limit: msat(15_000),
        time: TIME,
    }
}

fn msat(msat: u64) -> Msat {
    Msat::new(msat).expect("the samples are small")
}

#[test]
fn payment_ids_of_the_samples_are_ids() {
    assert!(PaymentId::from_uuid(BATCH.payment(42).as_u128()).is_some());
}
