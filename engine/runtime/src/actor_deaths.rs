//! Actors of each kind die under load; nothing is lost and nothing is paid twice.

use std::{
    collections::HashMap,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use fulgurite_core::{
    BatchId, FeePolicy, Msat, Order, PaymentHash, UnixMs, batch::State as BatchState, breaker,
    channel, node, order::BatchOptions, retry::RetryPolicy, window,
};
use fulgurite_journal::JournalOptions;
use fulgurite_lnd::{LndConfig, LndNode};
use fulgurite_sim::{Fleet, FleetConfig, InvoiceOrder, Knobs, Status, make_invoices, read_books};

use crate::{
    Engine, NodeOptions, Options,
    clock::now,
    intake,
    message::{BatchMessage, NodeMessage},
    slot::SendPolicy,
    start,
    upload::{Commit, Header},
    witness::WitnessPolicy,
};

const SEED: u64 = 11;
const PAYMENTS: usize = 600;

/// Sends whose fence is up after two seconds.
pub(crate) fn quick_sends() -> SendPolicy {
    SendPolicy {
        expiry_ms: 1_000,
        deadline_ms: 1_000,
        fence_margin_ms: 200,
        payment_timeout_seconds: 30,
        stuck_after_ms: 90_000,
        silence_ms_max: 60_000,
        long_after_ms: 60_000,
        parts_max: 16,
    }
}

pub(crate) fn batch_options() -> BatchOptions {
    BatchOptions {
        in_flight_max: 200,
        fee_policy: FeePolicy { base: Msat::from_sat_clamped(10), proportional_ppm: 10_000 },
        attempts_max: 10,
        ..BatchOptions::default()
    }
}

fn engine_options(fleet: &Fleet) -> Options {
    let limits = node::Limits {
        window: window::Limits { start: 50, min: 10, max: 200 },
        breaker: breaker::Limits { faults: 20, open_ms: 200, probes: 2 },
        payments_per_second_max: 0,
    };
    let nodes = fleet.nodes().iter().map(|node| {
        let config = LndConfig {
            name: node.name.clone(),
            address: node.address.clone(),
            tls_cert_path: node.tls_cert.clone(),
            macaroon_path: node.macaroon.clone(),
            ..LndConfig::default()
        };
        NodeOptions {
            name: node.name.as_str().into(),
            address: node.address.clone(),
            limits,
            open: Box::new(move |sink| Rc::new(LndNode::open(config.clone(), sink))),
        }
    });
    let intake = intake::Limits { open_payments_max: 10_000, uploads_max: 8, disk_floor_bytes: 0 };
    Options {
        witness: WitnessPolicy::default(),
        nodes: nodes.collect(),
        retry: RetryPolicy { backoff_ms_first: 20, ..RetryPolicy::default() },
        sends: quick_sends(),
        channels: channel::Limits {
            slots_reserve: 83,
            fee_exposure_max: Msat::from_sat_clamped(500_000),
        },
        intake,
        metrics: Arc::default(),
    }
}

fn orders() -> Vec<(u32, Arc<Order>)> {
    let order = InvoiceOrder { seed: SEED, count: PAYMENTS, ..InvoiceOrder::default() };
    let invoices = make_invoices(&order).expect("invoices");
    let orders = (1..).zip(invoices).map(|(row, invoice)| {
        let order = Order {
            invoice: invoice.bolt11.into(),
            payment_hash: PaymentHash(invoice.payment_hash),
            payee: None,
            amount: Msat::new(invoice.amount_msat).expect("a small amount"),
            amount_in_send: false,
            fee_limit: Msat::from_sat_clamped(20),
            invoice_expiry: UnixMs(i64::MAX / 2),
            deadline: None,
            reference: None,
        };
        (row, Arc::new(order))
    });
    orders.collect()
}

async fn accept(engine: &Engine) -> BatchId {
    let header = Header {
        idempotency_key: "deaths".into(),
        content_digest: "".into(),
        options: batch_options(),
        description: None,
        metadata: Vec::new(),
        single: false,
    };
    let mut upload = engine.open_upload(header, 0).expect("room for an upload");
    upload.add(orders(), Vec::new()).expect("rows are taken");
    match upload.commit(PAYMENTS as u32, [1; 32]).await.expect("a commit") {
        Commit::Accepted { batch, replayed: false } => batch.accepted.batch,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Waits until `done` payments are final, and says how many are.
async fn wait_finals(engine: &Engine, batch: BatchId, done: u32) -> u32 {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = engine.projected();
        // The read model may not know a batch yet that was just accepted.
        let summary = engine.batch(batch);
        if let Some(summary) = &summary {
            let finals = summary.counts.finals();
            if finals >= done && (done < PAYMENTS as u32 || summary.state == BatchState::Finished) {
                return finals;
            }
        }
        assert!(Instant::now() < limit, "stuck: {:?}", summary.map(|summary| summary.counts));
        let wait = tokio::time::timeout(Duration::from_millis(200), engine.wait_past(seen));
        drop(wait.await);
    }
}

/// How often each hash was paid, by the nodes' own books.
fn paid(dir: &Path) -> HashMap<[u8; 32], u32> {
    let mut paid = HashMap::new();
    for entry in read_books(dir).expect("the books") {
        if entry.status == Status::Succeeded {
            *paid.entry(entry.payment_hash).or_default() += 1;
        }
    }
    paid
}

fn run(kill: fn(&Engine, BatchId)) {
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = FleetConfig {
            nodes: 2,
            seed: SEED,
            dir: dir.path().join("sim"),
            knobs: Knobs { latency_ms: 5.0, ..Knobs::default() },
            ..FleetConfig::default()
        };
        let fleet = Fleet::start(config).await.expect("a fleet");
        let opened = fulgurite_journal::open(JournalOptions::new(dir.path().join("j")), now());
        let engine = start(engine_options(&fleet), opened.expect("a journal"));
        let batch = accept(&engine).await;
        for share in 1..=3 {
            wait_finals(&engine, batch, PAYMENTS as u32 * share / 5).await;
            kill(&engine, batch);
        }
        wait_finals(&engine, batch, PAYMENTS as u32).await;
        let counts = engine.batch(batch).expect("the batch").counts;
        assert_eq!(counts.succeeded as usize, PAYMENTS, "{counts:?}");
        engine.stop().await;
        drop(fleet);
    });
    let paid = paid(&dir.path().join("sim"));
    assert_eq!(paid.len(), PAYMENTS, "every payment is in the nodes' books");
    assert!(paid.values().all(|&times| times == 1), "no payment is there twice");
}

#[test]
fn a_batch_actor_that_panics_under_load_loses_nothing_and_pays_nothing_twice() {
    run(|engine, batch| {
        let slot = engine.shared.directory.get(&batch).map(|slot| Arc::clone(slot.value()));
        slot.expect("an open batch").inbox.deliver(BatchMessage::Die);
    });
}

#[test]
fn a_node_actor_that_panics_under_load_loses_nothing_and_pays_nothing_twice() {
    run(|engine, _| engine.shared.nodes.at(0).inbox.deliver(NodeMessage::Die));
}

#[test]
fn channel_actors_that_panic_under_load_lose_nothing_and_pay_nothing_twice() {
    run(|engine, _| engine.shared.nodes.at(1).inbox.deliver(NodeMessage::KillChannels));
}

/// Set for the process that is to end by its actors' deaths: it is this test again.
const DIES: &str = "FULGURITE_TEST_DIES";

#[test]
fn actors_that_die_again_and_again_end_the_process() {
    if std::env::var_os(DIES).is_some() {
        run(|engine, _| {
            for _ in 0..200 {
                engine.shared.nodes.at(0).inbox.deliver(NodeMessage::Die);
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        return;
    }
    let name = std::thread::current().name().expect("the test's name").to_owned();
    let myself = std::env::current_exe().expect("a program");
    let mut command = std::process::Command::new(myself);
    command.args(["--exact", &name, "--nocapture"]).env(DIES, "1");
    let output = command.output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("nothing is lost") && last.contains("then start again"), "{last}");
}
