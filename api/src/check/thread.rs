//! The threads of the invoice check: 45 us of CPU an order. The rows of uploads are kept off the
//! tokio workers by them. They share one queue; a client gets the chunks of its upload back in
//! their order, whoever checked them. What waits is bounded by permits: a chunk has its places
//! before it is sent.
//!
//! A payment that comes alone is checked where it comes in: to hand it to another thread and to be
//! woken by the answer costs more than reading an invoice does, and no upload is in its way.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use fulgurite_proto::fulgurite::v1::PaymentOrder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{CheckedRow, OwnNodes, Rules, Terms, invoice::Reader, row::Judge};

/// More threads than this would only be in the way of the payments.
const THREADS_MAX: usize = 4;

/// Takes how long the check of one order took, in microseconds.
pub type Record = Arc<dyn Fn(u64) + Send + Sync>;

/// Why a check gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchecked {
    /// Too many orders wait.
    #[error("too many orders wait for the invoice check")]
    Overloaded,
    /// An order made the check itself fail.
    #[error("the invoice check failed at an order of this request; nothing was accepted")]
    Failed,
    /// The thread is gone.
    #[error("the invoice check has ended")]
    Ended,
}

struct Job {
    orders: Vec<PaymentOrder>,
    terms: Terms,
    reply: oneshot::Sender<Result<Vec<CheckedRow>, Unchecked>>,
    /// The places of the orders among those that wait.
    places: OwnedSemaphorePermit,
}

/// A chunk that is being checked.
#[derive(Debug)]
pub struct Waiting(oneshot::Receiver<Result<Vec<CheckedRow>, Unchecked>>);

impl Waiting {
    /// The rows, in the order that they were sent in.
    pub async fn rows(self) -> Result<Vec<CheckedRow>, Unchecked> {
        self.0.await.unwrap_or(Err(Unchecked::Ended))
    }
}

/// A handle on the threads; cheap to clone. They end with the last handle.
#[derive(Clone)]
pub struct Checker {
    check: Arc<Check>,
    chunks: Sender<Job>,
    places: Arc<Semaphore>,
}

impl Checker {
    /// Starts the threads, one for each core. `record` takes the time of each check.
    pub fn start(rules: Rules, record: Record) -> std::io::Result<Checker> {
        let slots = slots(&rules);
        let (chunks, jobs) = bounded(slots);
        let reader = Reader::new(rules.network, rules.signatures);
        let judge = Judge { rules: Arc::new(rules), own_nodes: OwnNodes::default(), reader };
        let check = Arc::new(Check { judge, record });
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.min(THREADS_MAX) {
            let (check, jobs) = (Arc::clone(&check), Receiver::clone(&jobs));
            let work = move || jobs.iter().for_each(|job| check.chunk(job));
            thread::Builder::new().name("invoice check".into()).spawn(work)?;
        }
        Ok(Checker { check, chunks, places: Arc::new(Semaphore::new(slots)) })
    }

    /// What orders are judged by.
    pub fn rules(&self) -> &Rules {
        &self.check.judge.rules
    }

    /// The keys whose invoices are refused.
    pub fn own_nodes(&self) -> &OwnNodes {
        &self.check.judge.own_nodes
    }

    /// Rows of uploads that wait for the check.
    pub fn waiting(&self) -> usize {
        slots(self.rules()).saturating_sub(self.places.available_permits())
    }

    /// Sends a chunk of an upload; waits while too many rows wait.
    pub async fn send(
        &self,
        orders: Vec<PaymentOrder>,
        terms: Terms,
    ) -> Result<Waiting, Unchecked> {
        let rows = u32::try_from(orders.len()).map_err(|_| Unchecked::Overloaded)?;
        let places = Arc::clone(&self.places).acquire_many_owned(rows.max(1)).await;
        let places = places.map_err(|_| Unchecked::Ended)?;
        let (reply, waiting) = oneshot::channel();
        let sent = self.chunks.try_send(Job { orders, terms, reply, places });
        sent.map_err(|_| Unchecked::Ended)?;
        Ok(Waiting(waiting))
    }

    /// Checks an order that comes alone, on the thread that asks.
    pub fn check(&self, order: &PaymentOrder, terms: &Terms) -> Result<CheckedRow, Unchecked> {
        self.check.row(order, terms)
    }
}

/// How many rows may wait.
fn slots(rules: &Rules) -> usize {
    usize::try_from(rules.limits.unchecked_rows_max.max(1_000)).unwrap_or(usize::MAX)
}

/// The check itself. It keeps nothing between two orders.
struct Check {
    judge: Judge,
    record: Record,
}

impl Check {
    /// Who has the answer sees the places free, whatever the answer.
    fn chunk(&self, Job { orders, terms, reply, places }: Job) {
        let mut rows = Vec::with_capacity(orders.len());
        for order in &orders {
            // Nobody waits for an upload that was cut.
            if reply.is_closed() {
                return;
            }
            match self.row(order, &terms) {
                Ok(row) => rows.push(row),
                Err(fault) => {
                    drop(places);
                    // When nobody waits any more, the answer is dropped.
                    let _ = reply.send(Err(fault));
                    return;
                }
            }
        }
        drop(places);
        // When nobody waits any more, the answer is dropped.
        let _ = reply.send(Ok(rows));
    }

    /// A broken invariant costs the request that met it, not all that come after it: a thread that
    /// is gone is a way in that is gone, and nobody would see it.
    fn row(&self, order: &PaymentOrder, terms: &Terms) -> Result<CheckedRow, Unchecked> {
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let start = Instant::now();
            let row = self.judge.check(order, terms);
            (self.record)(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
            row
        }));
        checked.map_err(|_| {
            tracing::error!("the invoice check failed at an order: this is a defect");
            Unchecked::Failed
        })
    }
}
