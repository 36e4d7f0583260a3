//! Watches a batch to its end: over restarts of the engine, from the last cursor on.

use std::collections::HashMap;

use fulgurite_proto::fulgurite::v1 as proto;
use tonic::Status;

use super::{
    client::{self, Client, Stake},
    exit::{Exit, Fault},
    submit::Note,
};

/// How a watch ended.
#[derive(Clone, Debug)]
pub enum Watched {
    /// Every payment is final.
    Finished(Box<proto::Batch>),
    /// Only payments that a person must resolve are left.
    Unresolved(Box<proto::Batch>),
}

impl Watched {
    /// The batch as it was last.
    pub fn batch(&self) -> &proto::Batch {
        match self {
            Watched::Finished(batch) | Watched::Unresolved(batch) => batch,
        }
    }

    /// The exit code that says how the batch ended.
    pub fn exit(&self) -> Exit {
        match self {
            Watched::Unresolved(_) => Exit::UNRESOLVED,
            Watched::Finished(batch) => {
                let counts = batch.counts.unwrap_or_default();
                let all = counts.succeeded_count == counts.order_count;
                if all { Exit::SUCCESS } else { Exit::INCOMPLETE }
            }
        }
    }
}

/// What a watch shows: each outcome once, and what the batch is.
pub struct Shown<'a> {
    /// Every final or unresolved payment, once a version.
    pub payment: &'a mut dyn FnMut(&proto::Payment),
    /// The batch, and that the engine is away.
    pub note: &'a mut dyn FnMut(Note),
}

/// Where a watch stands: what it needs to go on after a cut.
#[derive(Debug, Default)]
struct Position {
    /// The last cursor whose events were shown.
    cursor: String,
    /// The version of each row that was shown: after a cut, events come again.
    versions: HashMap<i32, i64>,
    /// The batch as it was last.
    batch: proto::Batch,
}

/// Watches until the batch is finished, or nothing but unresolved payments are left of it.
///
/// # Errors
/// What the engine refuses, or that it was not reached.
pub async fn watch(
    client: &Client,
    batch_id: &str,
    mut shown: Shown<'_>,
) -> Result<Watched, Fault> {
    let mut reconnect = client.reconnect(Stake::Nothing);
    let mut position = Position::default();
    loop {
        let mut reached = || reconnect.reached();
        let status = match once(client, batch_id, (&mut position, &mut reached), &mut shown).await {
            Ok(watched) => return Ok(watched),
            Err(status) => status,
        };
        if client::reason(&status) == "CURSOR_EXPIRED" && !position.cursor.is_empty() {
            // From the beginning: what was shown is known by its version.
            position.cursor.clear();
            continue;
        }
        (shown.note)(Note::Away(client::text(&status)));
        reconnect.wait(&status).await?;
    }
}

async fn once(
    client: &Client,
    batch_id: &str,
    (position, reached): (&mut Position, &mut dyn FnMut()),
    shown: &mut Shown<'_>,
) -> Result<Watched, Status> {
    let request = proto::WatchBatchRequest {
        batch_id: batch_id.to_owned(),
        cursor: position.cursor.clone(),
        view: proto::View::Basic.into(),
        outcomes_only: true,
    };
    let mut stream = client.batches().watch_batch(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        reached();
        for event in &message.events {
            if let Some(proto::event::Object::Payment(payment)) = &event.object {
                let version = position.versions.entry(payment.row).or_default();
                if *version < payment.version {
                    *version = payment.version;
                    (shown.payment)(payment);
                }
            }
        }
        if !message.cursor.is_empty() {
            position.cursor = message.cursor;
        }
        if let Some(batch) = message.batch {
            position.batch = batch;
            (shown.note)(Note::Batch(Box::new(position.batch.clone())));
        }
        if let Some(watched) = ended(&position.batch) {
            return Ok(watched);
        }
    }
    // The end without a finished batch: the engine stops, or recycles its streams.
    Err(Status::unavailable("the stream ended"))
}

fn ended(batch: &proto::Batch) -> Option<Watched> {
    if batch.finish_time.is_some() {
        return Some(Watched::Finished(Box::new(batch.clone())));
    }
    let counts = batch.counts.unwrap_or_default();
    let waiting = counts.queued_count + counts.in_flight_count;
    let only_unresolved = counts.unresolved_count > 0 && waiting == 0;
    only_unresolved.then(|| Watched::Unresolved(Box::new(batch.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(counts: proto::Counts, finished: bool) -> proto::Batch {
        let finish_time = finished.then(prost_types::Timestamp::default);
        proto::Batch { counts: Some(counts), finish_time, ..Default::default() }
    }

    fn counts(order: i32, unresolved: i32, succeeded: i32, queued: i32) -> proto::Counts {
        proto::Counts {
            order_count: order,
            unresolved_count: unresolved,
            succeeded_count: succeeded,
            queued_count: queued,
            ..Default::default()
        }
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one batch and the exit code that it ends with.
    fn the_exit_code_says_how_the_batch_ended() {
        for (counts, finished, expected) in [
            (counts(2, 0, 2, 0), true,  Some(Exit::SUCCESS)),
            (counts(2, 0, 1, 0), true,  Some(Exit::INCOMPLETE)),
            (counts(2, 1, 1, 0), false, Some(Exit::UNRESOLVED)),
            (counts(3, 1, 1, 1), false, None),
            (counts(2, 0, 1, 1), false, None),
        ] {
            let ended = ended(&batch(counts, finished));
            assert_eq!(ended.map(|watched| watched.exit()), expected, "{counts:?}");
        }
    }
}
