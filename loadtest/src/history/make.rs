//! A journal of payments that are long over, made through the journal's own writer.
//!
//! The events are those that an engine leaves of a batch that is paid at the first attempt; only
//! nobody was asked and nobody paid. The texts have the length of real invoices, are all different
//! and carry no valid signature: an engine never reads the text of what is final.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fulgurite_core::{
    BatchId, Event, Lsn, Msat, Order, Preimage, UnixMs,
    event::{AttemptStarted, PaymentChange},
    order::{Accepted, BatchOptions},
};
use fulgurite_journal::{JournalOptions, Opened};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::{run::schedule::Random, scene};

/// Payments of one batch: they are open in memory together.
const BATCH_PAYMENTS: u32 = 10_000;
/// Orders of one event, as a client's upload has them.
const EVENT_ORDERS: usize = 500;
/// Payments that are in flight together, so that starts and ends alternate as they do in life.
const IN_FLIGHT: usize = 64;
/// The alphabet of BOLT 11 (BIP 173).
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// What stands before the random part of an invoice's text: its separator and its time.
const TEXT_KEPT: usize = 8;

/// A journal that was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The batches in the order of their times: id and payments.
    pub batches: Vec<(String, u32)>,
    /// How much of the disk the journal's folder takes, closed.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// Makes the journal of `payments` finished payments in `folder`, which must not hold one.
///
/// # Errors
/// When there is one, or it cannot be written.
pub(crate) async fn make(folder: &Path, payments: u32) -> Result<Made> {
    let taken = fs::read_dir(folder).is_ok_and(|mut inside| inside.next().is_some());
    ensure!(!taken, "{} is not empty: a history begins a new journal", folder.display());
    let started = Instant::now();
    let (done, waits) = oneshot::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let template = scene::invoices(0, 1).await?.pop().context("no invoice was made")?.bolt11;
    let folder_too = folder.to_owned();
    let random = Random(1);
    let writer = Author { folder: folder_too, payments, stop: Arc::clone(&stop), template, random };
    let thread = std::thread::Builder::new().name("history".into());
    // An error means that nobody waits any more.
    let thread = thread.spawn(move || drop(done.send(writer.run())))?;
    let _running = Running { stop, thread: Some(thread) };
    let batches = waits.await.context("the history's thread ended early")??;
    Ok(Made { batches, bytes: folder_bytes(folder)?, took: started.elapsed() })
}

/// The bytes of all files in a folder and below.
///
/// # Errors
/// What the operating system says.
pub(crate) fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let of = entry.metadata()?;
        bytes += if of.is_dir() { folder_bytes(&entry.path())? } else { of.len() };
    }
    Ok(bytes)
}

/// Ends the thread between two batches when its maker is interrupted.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic has shown itself on standard error, and its answer never came.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Who writes the events.
struct Author {
    folder: PathBuf,
    payments: u32,
    stop: Arc<AtomicBool>,
    /// A real invoice of the simulated network.
    template: String,
    random: Random,
}

impl Author {
    /// Writes all of it and closes the journal; the batches' ids with their payments.
    fn run(mut self) -> Result<Vec<(String, u32)>> {
        // It ends now: a second for every thousand payments.
        let born = UnixMs(now_ms()? - i64::from(self.payments));
        let opened = fulgurite_journal::open(JournalOptions::new(&self.folder), born)?;
        let written = self.write(&opened, born);
        opened.running.close();
        written
    }

    fn write(&mut self, opened: &Opened, born: UnixMs) -> Result<Vec<(String, u32)>> {
        let (mut batches, mut before, mut first) = (Vec::new(), Lsn::default(), 0);
        let started = Instant::now();
        let mut told = started;
        while first < self.payments {
            ensure!(!self.stop.load(Ordering::Relaxed), "interrupted");
            let count = BATCH_PAYMENTS.min(self.payments - first);
            let (id, events) = self.batch(born, (first, count));
            let last = opened.journal.append_many(events);
            // Bounded memory: one batch is written while the one before goes into the views.
            opened.views.projected().block_until(before);
            (before, first) = (last, first + count);
            batches.push((id.to_string(), count));
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                eprintln!(
                    "history: {first} of {}, {} s",
                    self.payments,
                    started.elapsed().as_secs()
                );
            }
        }
        opened.views.projected().block_until(before);
        Ok(batches)
    }

    /// The events of one batch, from its first orders to its end.
    fn batch(&mut self, born: UnixMs, (first, count): (u32, u32)) -> (BatchId, Vec<Event>) {
        let time = born.plus_ms(i64::from(first));
        let id = batch_id(time, first);
        let paid: Vec<(u32, Arc<Order>, Preimage)> = (1..=count)
            .map(|row| {
                let preimage = preimage(first + row - 1);
                (row, Arc::new(self.order(&preimage, time)), preimage)
            })
            .collect();
        let orders: Vec<_> = paid.iter().map(|(row, order, _)| (*row, Arc::clone(order))).collect();
        let mut events: Vec<Event> = orders
            .chunks(EVENT_ORDERS)
            .map(|orders| Event::OrdersAdded { batch: id, orders: Arc::new(orders.to_vec()) })
            .collect();
        events.push(Event::BatchAccepted(Arc::new(accepted((id, first), time, &orders))));
        for together in paid.chunks(IN_FLIGHT) {
            let change = |row: u32, change| {
                let payment = id.payment(row);
                Event::Payment { payment, time: time.plus_ms(i64::from(row)), change }
            };
            let starts = together.iter().map(|(row, order, _)| {
                change(*row, PaymentChange::AttemptStarted(Arc::new(attempt(order))))
            });
            let ends = together.iter().map(|(row, order, preimage)| {
                let fee_paid = order.amount.parts_per_million(100);
                let preimage = *preimage;
                change(*row, PaymentChange::AttemptSettled { attempt: 1, preimage, fee_paid })
            });
            events.extend(starts.chain(ends));
        }
        events.push(Event::BatchFinished { batch: id, time: time.plus_ms(i64::from(count)) });
        (id, events)
    }

    fn order(&mut self, preimage: &Preimage, time: UnixMs) -> Order {
        let amount = Msat::from_sat_clamped(5_000 + self.random.below(15_001) as u64);
        let mut payee = [2; 33];
        // Sixteen recipients, as the simulated network has.
        payee[32] = self.random.below(16) as u8;
        Order {
            invoice: self.text().into(),
            payment_hash: preimage.payment_hash(),
            payee: Some(payee),
            amount,
            amount_in_send: false,
            fee_limit: amount.parts_per_million(5_000),
            invoice_expiry: time.plus_ms(86_400_000),
            deadline: None,
            reference: None,
        }
    }

    /// As long as the template, and as hard to compress as a real one.
    fn text(&mut self) -> String {
        let kept = self.template.rfind('1').map_or(0, |at| at + TEXT_KEPT);
        let mut text = self.template[..kept].to_owned();
        while text.len() < self.template.len() {
            let mut bits = self.random.next();
            for _ in 0..12.min(self.template.len() - text.len()) {
                text.push(char::from(BECH32[(bits & 31) as usize]));
                bits >>= 5;
            }
        }
        text
    }
}

fn now_ms() -> Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

/// A UUIDv7 of this time; `number` tells apart those of one millisecond.
fn batch_id(time: UnixMs, number: u32) -> BatchId {
    let milliseconds = u128::try_from(time.0).unwrap_or_default();
    let version_and_variant = 7 << 76 | 2 << 62;
    BatchId::from_uuid(milliseconds << 80 | version_and_variant | u128::from(number) << 24)
}

/// No payment of the simulated network has its hash.
fn preimage(number: u32) -> Preimage {
    let digest =
        Sha256::new().chain_update(b"fulgurite history").chain_update(number.to_be_bytes());
    Preimage(digest.finalize().into())
}

fn attempt(order: &Order) -> AttemptStarted {
    AttemptStarted {
        attempt: 1,
        node: "node-0".into(),
        epoch: 1,
        amount: order.amount,
        fee_limit: order.fee_limit,
        channels: vec![(1 << 40, order.amount)],
        cltv_limit: 1_008,
        timeout_seconds: 30,
        send_until: order.invoice_expiry,
    }
}

fn accepted(
    (batch, number): (BatchId, u32),
    time: UnixMs,
    orders: &[(u32, Arc<Order>)],
) -> Accepted {
    let sum = |of: fn(&Order) -> Msat| {
        let amounts = orders.iter().map(|(_, order)| of(order));
        amounts.fold(Msat::ZERO, Msat::saturating_add)
    };
    Accepted {
        batch,
        account: "default".into(),
        idempotency_key: format!("history-{number}").into(),
        fingerprint: Sha256::digest(number.to_be_bytes()).into(),
        content_digest: "".into(),
        single: false,
        options: BatchOptions::default(),
        description: None,
        metadata: Vec::new(),
        order_count: orders.len() as u32,
        amount: sum(|order| order.amount),
        fee_limit: sum(|order| order.fee_limit),
        refused: Vec::new(),
        time,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn the_journal_opens_whole_with_nothing_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let made = make(&path, 12_345).await.unwrap();
        let counts: Vec<u32> = made.batches.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [10_000, 2_345]);
        assert!(made.bytes > 12_345 * 300, "{made:?}");
        let opened = fulgurite_journal::open(JournalOptions::new(&path), UnixMs(now_ms().unwrap()));
        let opened = opened.unwrap();
        assert!(opened.book.batches.is_empty());
        assert_eq!(opened.epoch, 2);
        let (mut hashes, mut texts) = (HashSet::new(), HashSet::new());
        for (id, count) in &made.batches {
            let id: BatchId = id.parse().unwrap();
            let summary = opened.views.batch(id).unwrap().unwrap();
            assert_eq!(summary.counts.succeeded, *count);
            for row in [1, *count / 2, *count] {
                let payment = opened.views.payment(id.payment(row)).unwrap().unwrap();
                hashes.insert(payment.order.payment_hash);
                texts.insert(payment.order.invoice.clone());
                assert_eq!(
                    payment.order.invoice.len(),
                    scene::invoices(0, 1).await.unwrap()[0].bolt11.len()
                );
            }
        }
        assert_eq!((hashes.len(), texts.len()), (6, 6));
        opened.running.close();
        let again = make(&path, 1).await.unwrap_err().to_string();
        assert!(again.contains("is not empty"), "{again}");
    }
}
