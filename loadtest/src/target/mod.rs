//! The doors that a run can order payments through.

mod bare;
mod batches;
mod http;
mod idle;
mod single;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use anyhow::Result;
use fulgurite_proto::fulgurite::v1 as proto;
use fulgurite_sim::Invoice;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic_types::StatusExt;

use crate::{
    client::RowRefused,
    run::{
        pacer::Arrival,
        rig::Reach,
        scenario::{Load, Target},
        schedule::Random,
        tally::{End, Lost, Tally},
    },
};

pub(crate) use idle::Idle;

/// What all requests of a run share.
pub(crate) struct Shared {
    /// The run's books.
    pub books: Mutex<Tally>,
    /// What is paid, signed before the clock started.
    pub invoices: Vec<Invoice>,
    /// Payments of one arrival.
    pub each: usize,
    /// Begins every idempotency key.
    pub key: String,
    /// Weights of low, normal and high.
    pub priorities: Option<[f64; 3]>,
    /// Decides the priorities.
    pub seed: u64,
}

impl Shared {
    /// The books; nothing is awaited while they are held.
    pub fn books(&self) -> MutexGuard<'_, Tally> {
        self.books.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Why a request has no outcome.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The reason that the engine gave, or the status or fault in words.
    pub code: String,
    /// Nobody knows what became of it.
    pub is_error: bool,
}

impl Refusal {
    /// The call broke.
    pub fn broken(code: impl Into<String>) -> Refusal {
        Refusal { code: code.into(), is_error: true }
    }

    /// What a gRPC status says: the engine's own reason is a refusal, all else is an error.
    pub fn of(status: &tonic::Status) -> Refusal {
        let unknown = ["UNKNOWN_OUTCOME", "INTERNAL"];
        match status.get_details_error_info() {
            Some(info) => {
                Refusal { is_error: unknown.contains(&info.reason.as_str()), code: info.reason }
            }
            None => Refusal::broken(format!("{:?}: {}", status.code(), root_cause(status))),
        }
    }
}

/// The last of a chain of errors: what the system said, without numbers that differ each time.
fn root_cause(status: &tonic::Status) -> String {
    let mut last = status.message().to_owned();
    let mut below = std::error::Error::source(status);
    while let Some(source) = below {
        last = source.to_string();
        below = source.source();
    }
    last
}

/// A client's call failed: by the status in it, if it holds one.
impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Refusal {
        if let Some(row) = error.downcast_ref::<RowRefused>() {
            return Refusal { code: row.reason.clone(), is_error: false };
        }
        match error.downcast_ref::<tonic::Status>() {
            Some(status) => Refusal::of(status),
            None => Refusal::broken(error.root_cause().to_string()),
        }
    }
}

impl From<tonic::Status> for Refusal {
    fn from(status: tonic::Status) -> Refusal {
        Refusal::of(&status)
    }
}

/// One arrival on its way: counts each of its payments once.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    arrival: Arrival,
    sent: Option<Instant>,
    /// The engine has it: what is refused now is the question what became of it.
    is_acked: bool,
    open: u64,
    codes: HashMap<String, u64>,
}

impl Slot {
    /// An arrival is begun.
    pub fn begin(shared: Arc<Shared>, arrival: Arrival) -> Slot {
        let mut slot =
            Slot { shared, arrival, sent: None, is_acked: false, open: 0, codes: HashMap::new() };
        slot.open = slot.invoices().len() as u64;
        slot.shared.books().offered(arrival.planned, Instant::now(), slot.open);
        slot
    }

    /// What it pays.
    pub fn invoices(&self) -> &[Invoice] {
        let Shared { invoices, each, .. } = &*self.shared;
        let first =
            usize::try_from(self.arrival.number).unwrap_or(usize::MAX).saturating_mul(*each);
        let first = first.min(invoices.len());
        &invoices[first..(first + each).min(invoices.len())]
    }

    /// The invoice of a target that has one an arrival.
    pub fn invoice(&self) -> &Invoice {
        &self.invoices()[0]
    }

    /// Its idempotency key.
    pub fn key(&self) -> String {
        format!("{}-{}", self.shared.key, self.arrival.number)
    }

    /// Its priority, when the load has several.
    pub fn priority(&self) -> Option<proto::batch_options::Priority> {
        let weights = self.shared.priorities?;
        let draw = Random(self.shared.seed ^ (self.arrival.number << 8)).unit();
        let draw = draw * weights.iter().sum::<f64>();
        Some(match draw {
            low if low < weights[0] => proto::batch_options::Priority::Low,
            normal if normal < weights[0] + weights[1] => proto::batch_options::Priority::Normal,
            _ => proto::batch_options::Priority::High,
        })
    }

    /// Its options, when they differ from the engine's defaults.
    pub fn options(&self) -> Option<proto::BatchOptions> {
        let priority = self.priority()?.into();
        Some(proto::BatchOptions { priority, ..proto::BatchOptions::default() })
    }

    /// Its request starts now.
    pub fn start(&mut self) {
        self.sent = Some(Instant::now());
        self.shared.books().sent(self.open);
    }

    /// Whether its request has started.
    pub fn is_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// It was acknowledged durably.
    pub fn acked(&mut self) {
        self.is_acked = true;
        self.shared.books().acked(self.arrival.planned, Instant::now(), self.open);
    }

    /// A watch was opened again.
    pub fn reopened(&self) {
        self.shared.books().reopened();
    }

    /// One of its payments ended at `now`, for the reason `code` when it was not paid.
    pub fn ended(&mut self, now: Instant, end: End, code: Option<String>) {
        if self.open == 0 {
            return;
        }
        self.open -= 1;
        let sent = self.sent.unwrap_or(now);
        self.shared.books().ended(self.arrival.planned, sent, now, end);
        if let Some(code) = code {
            *self.codes.entry(format!("failed {code}")).or_default() += 1;
        }
    }

    /// Nothing more comes: the end of what is still open. `None`: its deadline passed.
    pub fn finish(mut self, done: Option<Result<(), Refusal>>) {
        let mut books = self.shared.books();
        let (planned, open) = (self.arrival.planned, self.open);
        let refusal = match done {
            None => {
                let lost = if self.sent.is_some() { Lost::TimedOut } else { Lost::Unsent };
                books.lost(planned, open, lost);
                None
            }
            Some(Err(refusal)) => Some(refusal),
            Some(Ok(())) if open > 0 => Some(Refusal::broken("ended without an outcome")),
            Some(Ok(())) => None,
        };
        if let Some(Refusal { code, is_error }) = refusal {
            let is_error = is_error || self.is_acked;
            books.refused(planned, Instant::now(), open, is_error);
            books.code(&format!("{} {code}", if is_error { "error" } else { "refused" }), open);
        }
        for (code, count) in self.codes.drain() {
            books.code(&code, count);
        }
        self.open = 0;
    }
}

impl Drop for Slot {
    /// A run that is interrupted drops its requests.
    fn drop(&mut self) {
        if self.open > 0 {
            self.shared.books().lost(self.arrival.planned, self.open, Lost::Abandoned);
        }
    }
}

/// The engine takes so many uploads at once by default; more would be refused.
const UPLOADS_MAX: usize = 16;

/// A place among the requests that may be open at once.
///
/// # Errors
/// When nothing more is to be sent.
async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Refusal> {
    places.acquire().await.map_err(|_| Refusal::broken("nothing more is sent"))
}

/// How many requests of `load` may be open at once, over all threads. Closed, none starts any more.
pub(crate) fn permits(load: &Load) -> Arc<Semaphore> {
    let permits = match (load.in_flight_max, load.target) {
        (0, Target::Batches) => UPLOADS_MAX,
        (0, _) => Semaphore::MAX_PERMITS,
        (limit, _) => limit as usize,
    };
    Arc::new(Semaphore::new(permits))
}

/// A door that is open.
pub(crate) enum Door {
    /// Uploads and watches.
    Batches(batches::Batches),
    /// Single payments over gRPC.
    Grpc(single::Single),
    /// Single payments over HTTP.
    Http(http::Http),
    /// The nodes themselves.
    Bare(bare::Bare),
}

impl Door {
    /// Connects.
    ///
    /// # Errors
    /// When there is nothing there.
    pub async fn open(reach: &Reach, load: &Load, permits: Arc<Semaphore>) -> Result<Door> {
        Ok(match load.target {
            Target::Batches => Door::Batches(batches::Batches::open(reach, load, permits)?),
            Target::Grpc => Door::Grpc(single::Single::open(reach, load, permits)?),
            Target::Http => Door::Http(http::Http::open(reach, load, permits)),
            Target::Bare => Door::Bare(bare::Bare::open(reach, load, permits).await?),
        })
    }

    /// Orders what `slot` holds and waits for its outcomes. Each request is sent once.
    ///
    /// # Errors
    /// Why there are no (more) outcomes.
    pub async fn send(&self, slot: &mut Slot) -> Result<(), Refusal> {
        match self {
            Door::Batches(door) => door.send(slot).await,
            Door::Grpc(door) => door.send(slot).await,
            Door::Http(door) => door.send(slot).await,
            Door::Bare(door) => door.send(slot).await,
        }
    }
}

/// How a payment of the engine ended; `None` while it has not.
pub(crate) fn end_of(payment: &proto::Payment) -> Option<(End, Option<String>)> {
    use proto::payment::State;
    let state = payment.state();
    match state {
        State::Succeeded => Some((End::Succeeded, None)),
        State::Unresolved => Some((End::Unresolved, Some("UNRESOLVED".into()))),
        State::Failed | State::Cancelled => {
            let reason = payment.failure.as_ref().map(|failure| failure.reason());
            let code = reason.map_or("CANCELLED", |reason| reason.as_str_name());
            Some((End::Failed, Some(code.to_owned())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{run::clerk::Clerk, scene};

    /// How a payment ends whose request was acknowledged, or not, and then refused.
    async fn ends(is_acked: bool, refusal: Refusal) -> (crate::result::Counts, Vec<String>) {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let tally = || Tally::new(start, minute, minute);
        let shared = Arc::new(Shared {
            books: Mutex::new(tally()),
            invoices: scene::invoices(0, 1).await.expect("an invoice"),
            each: 1,
            key: "key".into(),
            priorities: None,
            seed: 1,
        });
        let mut slot = Slot::begin(Arc::clone(&shared), Arrival { number: 0, planned: start });
        slot.start();
        if is_acked {
            slot.acked();
        }
        slot.finish(Some(Err(refusal)));
        let books = Clerk::new(None).finish(&shared.books, tally()).expect("no log to write");
        (books.counts, books.codes.into_keys().collect())
    }

    #[tokio::test]
    async fn what_was_accepted_is_not_refused_any_more() {
        let overloaded = || Refusal { code: "OVERLOADED".into(), is_error: false };
        let (counts, codes) = ends(false, overloaded()).await;
        assert_eq!((counts.refused, counts.errors), (1, 0));
        assert_eq!(codes, ["refused OVERLOADED"]);
        // Its watch was refused, and it is paid for all we know.
        let (counts, codes) = ends(true, overloaded()).await;
        assert_eq!((counts.refused, counts.errors), (0, 1));
        assert_eq!(codes, ["error OVERLOADED"]);
    }

    #[tokio::test]
    async fn after_ctrl_c_what_waits_for_a_place_is_not_sent() {
        for target in [Target::Batches, Target::Grpc, Target::Http, Target::Bare] {
            let places = permits(&Load { target, in_flight_max: 1, ..Load::default() });
            let one = place(&places).await.expect("the first has a place");
            let (second, ()) = tokio::join!(place(&places), async { places.close() });
            assert!(second.is_err(), "{}", target.name());
            drop(one);
            assert!(place(&places).await.is_err(), "{}", target.name());
        }
    }

    #[test]
    fn a_batch_that_a_row_spoils_is_refused_for_its_reason() {
        let row = RowRefused { reason: "REASON_EXPIRED".into(), row: 3, message: "late".into() };
        let Refusal { code, is_error } = anyhow::Error::new(row).into();
        assert_eq!((code.as_str(), is_error), ("REASON_EXPIRED", false));
    }
}
