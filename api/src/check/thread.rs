//! The threads of the invoice check: 45 us of CPU an order, kept off the tokio workers. They share
//! one queue; a client gets the chunks of its upload back in their order, whoever checked them.
//!
//! Uploads send chunks, single payments one order each on a lane of their own, so that a payment
//! waits for a few rows of an upload, not for a whole chunk. What waits is bounded by permits: a
//! job has a place in its lane before it is sent.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};
use fulgurite_proto::fulgurite::v1::PaymentOrder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{CheckedRow, OwnNodes, Rules, Terms, invoice::Reader, row::Judge};

/// More threads than this would only be in the way of the payments.
const THREADS_MAX: usize = 4;
/// How many rows of a chunk are checked before single payments are looked for.
const ROWS_BETWEEN_SINGLES: usize = 16;

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
    rules: Arc<Rules>,
    own_nodes: OwnNodes,
    chunks: Sender<Job>,
    singles: Sender<Job>,
    places: Arc<Semaphore>,
    single_places: Arc<Semaphore>,
}

impl Checker {
    /// Starts the threads, one for each core. `record` takes the time of each check.
    pub fn start(rules: Rules, record: Record) -> std::io::Result<Checker> {
        let places = rules.limits.unchecked_rows_max.max(1_000);
        let slots = usize::try_from(places).unwrap_or(usize::MAX);
        let (chunks, chunk_jobs) = bounded(slots);
        let (singles, single_jobs) = bounded(slots);
        let checker = Checker {
            rules: Arc::new(rules),
            own_nodes: OwnNodes::default(),
            chunks,
            singles,
            places: Arc::new(Semaphore::new(slots)),
            single_places: Arc::new(Semaphore::new(slots)),
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.min(THREADS_MAX) {
            let judge = Judge {
                rules: Arc::clone(&checker.rules),
                own_nodes: checker.own_nodes.clone(),
                reader: Reader::new(checker.rules.network, checker.rules.signatures),
            };
            let (chunks, singles) = (chunk_jobs.clone(), single_jobs.clone());
            let worker = Worker { judge, record: Arc::clone(&record), chunks, singles };
            thread::Builder::new().name("invoice check".into()).spawn(move || worker.run())?;
        }
        Ok(checker)
    }

    /// What orders are judged by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The keys whose invoices are refused.
    pub fn own_nodes(&self) -> &OwnNodes {
        &self.own_nodes
    }

    /// Orders that wait for the check, of uploads and single ones.
    pub fn waiting(&self) -> usize {
        let slots = usize::try_from(self.rules.limits.unchecked_rows_max.max(1_000));
        let free = self.places.available_permits() + self.single_places.available_permits();
        slots.unwrap_or(usize::MAX).saturating_mul(2).saturating_sub(free)
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

    /// Checks an order that comes alone; refused at once when too many wait.
    pub async fn check(&self, order: PaymentOrder, terms: Terms) -> Result<CheckedRow, Unchecked> {
        let place = Arc::clone(&self.single_places).try_acquire_owned();
        let places = place.map_err(|_| Unchecked::Overloaded)?;
        let (reply, waiting) = oneshot::channel();
        let sent = self.singles.try_send(Job { orders: vec![order], terms, reply, places });
        sent.map_err(|_| Unchecked::Ended)?;
        let rows = Waiting(waiting).rows().await?;
        rows.into_iter().next().ok_or(Unchecked::Ended)
    }
}

struct Worker {
    judge: Judge,
    record: Record,
    chunks: Receiver<Job>,
    singles: Receiver<Job>,
}

impl Worker {
    fn run(self) {
        loop {
            if self.check_singles().is_err() {
                return;
            }
            select! {
                recv(self.singles) -> job => match job {
                    Ok(job) => self.check(job),
                    Err(_) => return,
                },
                recv(self.chunks) -> job => match job {
                    Ok(job) => self.check(job),
                    Err(_) => return,
                },
            }
        }
    }

    /// Checks the single orders that wait; an error when nobody can send any more.
    fn check_singles(&self) -> Result<(), TryRecvError> {
        loop {
            match self.singles.try_recv() {
                Ok(job) => self.check(job),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(gone @ TryRecvError::Disconnected) => return Err(gone),
            }
        }
    }

    /// Who has the answer sees the places free, whatever the answer.
    fn check(&self, Job { orders, terms, reply, places }: Job) {
        let mut rows = Vec::with_capacity(orders.len());
        for (at, order) in orders.iter().enumerate() {
            // Nobody waits for an upload that was cut.
            if reply.is_closed() {
                return;
            }
            if at > 0 && at % ROWS_BETWEEN_SINGLES == 0 {
                // When nobody can send any more, the loop outside sees it too.
                let _ = self.check_singles();
            }
            // A broken invariant costs the request that met it, not all that come after it: this
            // thread is the only way in, and nobody would see that it is gone. The judge keeps
            // nothing between two orders.
            let row = catch_unwind(AssertUnwindSafe(|| self.check_row(order, &terms)));
            let Ok(row) = row else {
                tracing::error!(
                    order = at,
                    "the invoice check failed at an order: this is a defect"
                );
                drop(places);
                // When nobody waits any more, the answer is dropped.
                let _ = reply.send(Err(Unchecked::Failed));
                return;
            };
            rows.push(row);
        }
        drop(places);
        // When nobody waits any more, the answer is dropped.
        let _ = reply.send(Ok(rows));
    }

    fn check_row(&self, order: &PaymentOrder, terms: &Terms) -> CheckedRow {
        let start = Instant::now();
        let row = self.judge.check(order, terms);
        (self.record)(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        row
    }
}
