//! `WatchBatch`: what happens to a batch, from its first event or from a cursor on.
//!
//! The stream asks the engine only when the reader takes the next message: nothing is buffered
//! and nothing dropped (W7). A cursor is a position in the journal, so replay and live are one.

use std::time::Duration;

use fulgurite_core::{Lsn, batch::Summary};
use fulgurite_proto::fulgurite::v1::{WatchBatchRequest, WatchBatchResponse};
use fulgurite_runtime::watcher::{Changes, Watcher};
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;

use crate::{
    Doors,
    cursor::{self, Bound},
    problem::{Code, Problem, watch_cursor},
    query,
    wire::{self, payment::View},
};

/// The most events of a message.
const EVENTS_MAX: usize = 256;
/// The same with every attempt of every payment, which can be many: clients decode 4 MiB.
const FULL_EVENTS_MAX: usize = 128;
/// The batch is sent at most this often.
const BATCH_PERIOD: Duration = Duration::from_secs(1);
/// The batch is sent at least this often; the contract says 15 s.
const HEARTBEAT: Duration = Duration::from_secs(12);
/// Changes are gathered this long, so that a busy engine is not asked for every event.
const GATHER: Duration = Duration::from_millis(20);

type Responses = BoxStream<'static, Result<WatchBatchResponse, Status>>;

/// Opens a watch.
pub fn watch(doors: &Doors, request: &WatchBatchRequest) -> Result<Responses, Problem> {
    let batch = query::batch_id(&request.batch_id)?;
    let view = query::view(request.view)?;
    let bound = cursor::watch_bound(batch, request.outcomes_only);
    let position = cursor::watch_position(bound, &request.cursor).map_err(watch_cursor)?;
    let watcher = doors.engine.watch(batch, position, request.outcomes_only);
    let watcher = watcher.ok_or_else(|| Problem::new(Code::BatchNotFound))?;
    let doors = doors.clone();
    let (watcher, began) = (Some(watcher), Instant::now());
    let watch = Watch { doors, watcher, bound, view, began, shown: None };
    let responses = stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        match watch.next().await {
            Ok((message, End::No)) => Some((Ok(message), Some(watch))),
            Ok((message, End::Yes)) => Some((Ok(message), None)),
            Err(problem) => Some((Err(problem.into_status()), None)),
        }
    });
    Ok(responses.boxed())
}

struct Watch {
    doors: Doors,
    /// Away only while it reads.
    watcher: Option<Watcher>,
    bound: Bound,
    view: View,
    began: Instant,
    /// The version of the batch that was sent last, and when.
    shown: Option<(Lsn, Instant)>,
}

/// Whether a message is the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    Yes,
}

impl Watch {
    async fn next(&mut self) -> Result<(WatchBatchResponse, End), Problem> {
        loop {
            if self.doors.is_stopping() {
                return Err(Problem::new(Code::Stopping));
            }
            // Read first: what comes between the two wakes the wait below.
            let seen = self.doors.engine.projected();
            let changes = self.changes().await?;
            // The batch was read before its payments: once it is finished, they are its last.
            let is_end = changes.batch.finished.is_some() && !changes.more;
            let end = if is_end { End::Yes } else { End::No };
            if !changes.payments.is_empty() || self.is_due(&changes, end) {
                return Ok((self.message(&changes, end), end));
            }
            if !changes.more {
                self.wait(&changes.batch, seen).await;
            }
        }
    }

    /// What changed, read off the workers: a large batch is many rows.
    async fn changes(&mut self) -> Result<Changes, Problem> {
        let gone = || Problem::new(Code::StreamRecycled);
        let mut watcher = self.watcher.take().ok_or_else(gone)?;
        let limit = match self.view {
            View::Basic => EVENTS_MAX,
            View::Full => FULL_EVENTS_MAX,
        };
        let read = move || {
            let changes = watcher.next(limit);
            (watcher, changes)
        };
        let (watcher, changes) = tokio::task::spawn_blocking(read).await.map_err(|_| gone())?;
        self.watcher = Some(watcher);
        changes.ok_or_else(|| Problem::new(Code::BatchNotFound))
    }

    fn message(&mut self, changes: &Changes, end: End) -> WatchBatchResponse {
        let shows = self.is_due(changes, end);
        if shows {
            self.shown = Some((changes.batch.version, Instant::now()));
        }
        let event = |payment| wire::event::of_payment(payment, self.view);
        WatchBatchResponse {
            events: changes.payments.iter().map(event).collect(),
            cursor: cursor::watch_cursor(self.bound, changes.through),
            batch: shows.then(|| wire::batch::to_proto(&changes.batch)),
        }
    }

    /// Whether the batch is to be sent now.
    fn is_due(&self, changes: &Changes, end: End) -> bool {
        if end == End::Yes {
            return true;
        }
        // Only the last message may say that the batch is finished (W6).
        if changes.batch.finished.is_some() {
            return false;
        }
        // Its counts would speak of payments that are still to come.
        if changes.more {
            let last = self.shown.map_or(self.began, |(_, time)| time);
            return last.elapsed() >= HEARTBEAT;
        }
        self.due(&changes.batch).is_none_or(|due| due <= Instant::now())
    }

    /// When the batch is to be sent next; `None` when it never was.
    fn due(&self, batch: &Summary) -> Option<Instant> {
        let (version, time) = self.shown?;
        Some(time + if version == batch.version { HEARTBEAT } else { BATCH_PERIOD })
    }

    /// Waits for something new after `seen`, or until the batch is due.
    async fn wait(&self, batch: &Summary, seen: Lsn) {
        sleep(GATHER).await;
        let due = self.due(batch).unwrap_or_else(Instant::now);
        tokio::select! {
            () = self.doors.engine.wait_past(seen) => {}
            () = sleep_until(due) => {}
            () = self.doors.stopped() => {}
        }
    }
}
