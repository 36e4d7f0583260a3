//! Measures what the journal costs on this machine: an event, a payment, a start.
//!
//! `cargo run --release -p fulgurite-journal --example costs -- FOLDER [PAYMENTS]`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fulgurite_core::{
    BatchId, Event, Msat, Order, PaymentId, Preimage, UnixMs,
    event::{AttemptStarted, PaymentChange},
    order::{Accepted, BatchOptions},
    port::Journal,
};
use fulgurite_journal::{JournalHandle, JournalOptions, Opened, codec, open};
use rustix::time::{ClockId, clock_gettime};

const NOW: UnixMs = UnixMs(1_790_000_000_000);
const ROWS: u32 = 10_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder for the journal");
    let payments: u32 = arguments.next().map_or(100_000, |text| text.parse().expect("a number"));
    encoding();
    let opened = open(JournalOptions::new(&folder), NOW).expect("the journal opens");
    barriers(&opened.journal);
    for batch in 0..payments.div_ceil(ROWS) {
        pay(&opened, batch);
    }
    threads();
    opened.running.close();
    drop((opened.book, opened.journal, opened.views));
    let clock = (Instant::now(), cpu());
    let opened = open(JournalOptions::new(&folder), NOW).expect("the journal opens");
    report(&format!("open after {} events", opened.book.lsn), 1, clock);
    opened.running.close();
}

/// What each thread has used of the processors, by name.
fn threads() {
    for task in std::fs::read_dir("/proc/self/task").expect("Linux").flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let nanoseconds = read("schedstat");
        let used = nanoseconds.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        println!("  thread {}: {:?}", read("comm").trim_end(), Duration::from_nanos(used));
    }
}

/// What the whole process has used of the processors.
fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

fn report(what: &str, count: u64, (wall, used): (Instant, Duration)) {
    let (wall, used) = (wall.elapsed(), cpu() - used);
    let per = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("{what}: {count} in {wall:?}: {:.2} us wall, {:.2} us CPU each", per(wall), per(used));
}

fn encoding() {
    let event = started(BatchId::from_uuid(1 << 60).payment(1), 1);
    let mut bytes = Vec::new();
    let clock = (Instant::now(), cpu());
    for _ in 0..1_000_000 {
        bytes.clear();
        codec::encode_event(&event, &mut bytes);
        std::hint::black_box(&bytes);
    }
    report(&format!("encode {} bytes", bytes.len()), 1_000_000, clock);
    let clock = (Instant::now(), cpu());
    for _ in 0..1_000_000 {
        std::hint::black_box(codec::decode_events(1, &bytes, 1).expect("it decodes"));
    }
    report("decode", 1_000_000, clock);
}

fn barriers(journal: &JournalHandle) {
    for group in [1_u32, 16, 64, 256] {
        let before = journal.totals().commits;
        let count = 500;
        let clock = (Instant::now(), cpu());
        for _ in 0..count {
            let last = journal.append_many((0..group).map(|_| Event::Barrier));
            journal.watermark().block_until(last);
        }
        let commits = journal.totals().commits - before;
        report(&format!("{group} at once, {commits} commits"), u64::from(count * group), clock);
    }
}

/// Uploads a batch, pays all of it with 64 events at a time, and finishes it.
fn pay(opened: &Opened, number: u32) {
    let journal = &opened.journal;
    let batch = BatchId::from_uuid(u128::from(number + 1) << 60);
    let orders: Vec<_> = (1..=ROWS).map(|row| (row, Arc::new(order(batch.payment(row))))).collect();
    let clock = (Instant::now(), cpu());
    for chunk in orders.chunks(1_000) {
        let orders = Arc::new(chunk.to_vec());
        journal.append(Event::OrdersAdded { batch, orders });
    }
    let last = journal.append(Event::BatchAccepted(Arc::new(accepted(batch))));
    opened.views.projected().block_until(last);
    report("  orders accepted", u64::from(ROWS), clock);
    let (before, clock) = (journal.totals(), (Instant::now(), cpu()));
    for first in (1..=ROWS).step_by(64) {
        let rows = first..(first + 64).min(ROWS + 1);
        let starts = rows.clone().map(|row| started(batch.payment(row), 1));
        journal.watermark().block_until(journal.append_many(starts));
        let last = journal.append_many(rows.map(|row| settled(batch.payment(row))));
        journal.watermark().block_until(last);
    }
    let last = journal.append(Event::BatchFinished { batch, time: NOW });
    opened.views.projected().block_until(last);
    report("  payments paid and projected", u64::from(ROWS), clock);
    let after = journal.totals();
    let (commits, ns) = (after.commits - before.commits, after.commit_ns - before.commit_ns);
    println!(
        "  {commits} commits of {:.0} us, {} view rows",
        ns as f64 / 1e3 / commits as f64,
        after.view_rows - before.view_rows
    );
}

fn preimage(payment: PaymentId) -> Preimage {
    let mut preimage = [0; 32];
    preimage[..16].copy_from_slice(&payment.as_u128().to_be_bytes());
    Preimage(preimage)
}

fn settled(payment: PaymentId) -> Event {
    let (preimage, fee_paid) = (preimage(payment), Msat::ZERO);
    let change = PaymentChange::AttemptSettled { attempt: 1, preimage, fee_paid };
    Event::Payment { payment, time: NOW, change }
}

fn started(payment: PaymentId, attempt: u16) -> Event {
    let change = PaymentChange::AttemptStarted(Arc::new(AttemptStarted {
        attempt,
        node: "alice".into(),
        epoch: 1,
        amount: Msat::from_sat_clamped(1_000),
        fee_limit: Msat::from_sat_clamped(10),
        channels: vec![(1 << 50, Msat::from_sat_clamped(1_010))],
        cltv_limit: 1_008,
        timeout_seconds: 30,
        send_until: NOW.plus_ms(60_000),
    }));
    Event::Payment { payment, time: NOW, change }
}

fn order(payment: PaymentId) -> Order {
    Order {
        invoice: format!("lnbcrt10u1p{payment}{:0>260}", "").into(),
        payment_hash: preimage(payment).payment_hash(),
        payee: Some([2; 33]),
        amount: Msat::from_sat_clamped(1_000),
        amount_in_send: false,
        fee_limit: Msat::from_sat_clamped(10),
        invoice_expiry: NOW.plus_ms(3_600_000),
        deadline: None,
        reference: None,
    }
}

fn accepted(batch: BatchId) -> Accepted {
    Accepted {
        batch,
        account: "default".into(),
        idempotency_key: batch.to_string().into(),
        fingerprint: [0; 32],
        content_digest: "".into(),
        single: false,
        options: BatchOptions { in_flight_max: 1_000, attempts_max: 10, ..BatchOptions::default() },
        description: None,
        metadata: Vec::new(),
        order_count: ROWS,
        refused: Vec::new(),
        amount: Msat::from_sat_clamped(1_000),
        fee_limit: Msat::from_sat_clamped(10),
        time: NOW,
    }
}
