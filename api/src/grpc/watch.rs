//! `WatchBatch`: what happens to a batch, from its first event or from a cursor on.
//!
//! The stream asks the engine only when the reader takes the next message: nothing is buffered
//! and nothing dropped (W7). A cursor is a position in the journal, so replay and live are one.

use std::time::Duration;

use fulgurite_core::Lsn;
use fulgurite_journal::Follow;
use fulgurite_proto::fulgurite::v1::{WatchBatchRequest, WatchBatchResponse};
use fulgurite_runtime::watcher::{Changes, Watcher};
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::time::{Instant, sleep_until};
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
/// Looking takes at most one part in so many of the time: a busy engine is not asked for every
/// event, an idle one at once. What changes meanwhile gathers for the next message.
const LOOKS_SHARE: u32 = 8;
/// Changes gather at most this long.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// A look that took no longer is followed by the next change.
const QUICK_LOOK: Duration = Duration::from_micros(250);

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
    let follow = doors.engine.follow_batch(batch);
    let (watcher, began) = (Some(watcher), Instant::now());
    let watch = Watch { doors, watcher, follow, bound, view, began, shown: None, looked: None };
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
    follow: Follow,
    bound: Bound,
    view: View,
    began: Instant,
    /// The version of the batch that was sent last, and when.
    shown: Option<(Lsn, Instant)>,
    /// The last look; `None` when there may be more right away.
    looked: Option<Look>,
}

/// A look that found all that there was.
#[derive(Clone, Copy)]
struct Look {
    /// Changes up to here were there to see.
    seen: Lsn,
    /// The version of the batch then.
    version: Lsn,
    /// When the next one may come.
    again: Instant,
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
            if let Some(look) = self.looked.take() {
                self.wait(look).await;
            }
            // Read first: what comes between the two wakes the wait above.
            let (seen, began) = (self.follow.seen(), Instant::now());
            let changes = self.changes().await?;
            if !changes.more {
                let again = began + gather(began.elapsed());
                self.looked = Some(Look { seen, version: changes.batch.version, again });
            }
            // The batch was read before its payments: once it is finished, they are its last.
            let is_end = changes.batch.finished.is_some() && !changes.more;
            let end = if is_end { End::Yes } else { End::No };
            if !changes.payments.is_empty() || self.is_due(&changes, end) {
                return Ok((self.message(&changes, end), end));
            }
        }
    }

    /// What changed. A large batch is many rows: they are read off the workers.
    async fn changes(&mut self) -> Result<Changes, Problem> {
        let gone = || Problem::new(Code::StreamRecycled);
        let mut watcher = self.watcher.take().ok_or_else(gone)?;
        let limit = match self.view {
            View::Basic => EVENTS_MAX,
            View::Full => FULL_EVENTS_MAX,
        };
        let is_quick = watcher.is_quick();
        let read = move || {
            let changes = watcher.next(limit);
            (watcher, changes)
        };
        let (watcher, changes) = if is_quick {
            read()
        } else {
            tokio::task::spawn_blocking(read).await.map_err(|_| gone())?
        };
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
        self.due(changes.batch.version).is_none_or(|due| due <= Instant::now())
    }

    /// When the batch is to be sent next; `None` when it never was.
    fn due(&self, version: Lsn) -> Option<Instant> {
        let (shown, time) = self.shown?;
        Some(time + if version == shown { HEARTBEAT } else { BATCH_PERIOD })
    }

    /// Waits for something new after a look, or until the batch is due.
    async fn wait(&self, look: Look) {
        let due = self.due(look.version).unwrap_or_else(Instant::now);
        let news = async {
            self.follow.changed_after(look.seen).await;
            sleep_until(look.again).await;
        };
        tokio::select! {
            () = news => {}
            () = sleep_until(due) => {}
            () = self.doors.stopped() => {}
        }
    }
}

/// How long after the beginning of a look that took so long the next one may begin.
fn gather(took: Duration) -> Duration {
    if took <= QUICK_LOOK { Duration::ZERO } else { (took * LOOKS_SHARE).min(GATHER_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_look_is_followed_by_the_next_change_and_a_slow_one_gathers() {
        for (took_us, rest_us) in
            [(100, 0), (250, 0), (500, 4_000), (2_000, 16_000), (9_000, 20_000)]
        {
            let rest = gather(Duration::from_micros(took_us));
            assert_eq!(rest, Duration::from_micros(rest_us), "{took_us} us");
        }
    }
}
