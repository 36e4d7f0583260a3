//! An upload on its way: rows in chunks, then one commit that accepts the whole or nothing
//! (rule E3).

mod claim;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fulgurite_core::{
    BatchId, Event, Lsn, Msat, Order,
    batch::{Batch, Summary},
    order::{Accepted, BatchOptions, RefusedRow, Sealed},
    port::Journal,
};

use self::claim::Claimed;
pub use crate::busy::Busy;
use crate::{
    clock::now, difference::difference, engine::Engine, intake::Key, message::BatchMessage,
    metrics::Stage, supervisor::Task,
};

/// The account of all orders until there are more.
pub const ACCOUNT: &str = "default";
/// So many rows are one event: 100 KiB as they usually are, 2 MiB at most.
const ROWS_AT_ONCE: usize = 250;

/// So many rows are claimed where their commit came in: a few microseconds each.
const INLINE_ROWS_MAX: usize = 128;

/// What an upload says about itself before its rows.
#[derive(Clone, Debug)]
pub struct Header {
    /// The client's key, 1 to 255 visible ASCII.
    pub idempotency_key: Arc<str>,
    /// The digest of the content that the client named; empty when it named none.
    pub content_digest: Arc<str>,
    /// The options, effective.
    pub options: BatchOptions,
    /// The client's text.
    pub description: Option<Sealed>,
    /// The client's pairs.
    pub metadata: Vec<(Sealed, Sealed)>,
    /// One payment that comes alone.
    pub single: bool,
}

/// How a commit ended.
#[derive(Clone, Debug)]
pub enum Commit {
    /// The batch is accepted and durable.
    Accepted {
        /// The batch as it is now.
        batch: Box<Summary>,
        /// True when this key was accepted before, with the same content.
        replayed: bool,
    },
    /// Rows are bad and nothing was accepted: every problem of every row.
    RowsRefused(Vec<RefusedRow>),
    /// The key belongs to a batch with other content.
    KeyReused {
        /// The batch that has the key.
        batch: BatchId,
        /// The first difference, such as `row 17 amount_msat`.
        difference: String,
    },
}

/// An upload that is open. Dropping it without a commit leaves nothing.
pub struct Upload {
    engine: Engine,
    header: Header,
    batch: BatchId,
    orders: Vec<(u32, Arc<Order>)>,
    refused: Vec<RefusedRow>,
    /// The last row that is in the journal; 0 when none is.
    journaled: u32,
    /// Rows go to the journal with the seal, and not before: most likely there will be none.
    deferred: bool,
    /// The key is taken for this commit: whatever does not lead to a seal frees it.
    key_taken: bool,
    sealed: bool,
}

impl Upload {
    pub(crate) fn new(engine: Engine, header: Header, batch: BatchId) -> Upload {
        // A client that repeats for ever must not fill the journal.
        let deferred = header.single || engine.knows_key(&header.idempotency_key);
        Upload {
            engine,
            header,
            batch,
            orders: Vec::new(),
            refused: Vec::new(),
            journaled: 0,
            deferred,
            key_taken: false,
            sealed: false,
        }
    }

    /// The id that the batch will have when it is accepted as new.
    pub fn batch(&self) -> BatchId {
        self.batch
    }

    /// True when refused rows are kept with the batch: bad ones do not refuse the whole.
    pub fn keeps_refused(&self) -> bool {
        self.header.options.accept_valid
    }

    /// Takes checked rows, growing, and what was refused among them.
    pub fn add(
        &mut self,
        orders: Vec<(u32, Arc<Order>)>,
        refused: Vec<RefusedRow>,
    ) -> Result<(), Busy> {
        if self.engine.shared.intake.is_stopping() {
            return Err(Busy::Stopping);
        }
        self.refused.extend(refused);
        if orders.is_empty() {
            return Ok(());
        }
        self.orders.extend(orders);
        // Rows that will be refused as a whole need no place in the journal.
        if !self.deferred && (self.refused.is_empty() || self.header.options.accept_valid) {
            self.journal(ROWS_AT_ONCE);
        }
        Ok(())
    }

    /// What is not there yet goes to the journal, if it is so many rows and more. Fewer wait for
    /// others or for the seal: a sync of their own would be in the way of it.
    fn journal(&mut self, least: usize) {
        let from = self.orders.partition_point(|(row, _)| *row <= self.journaled);
        for rows in self.orders[from..].chunks(ROWS_AT_ONCE).filter(|rows| rows.len() >= least) {
            let orders = Arc::new(rows.to_vec());
            self.journaled = rows.last().map_or(self.journaled, |(row, _)| *row);
            self.engine.shared.journal.append(Event::OrdersAdded { batch: self.batch, orders });
        }
    }

    /// Accepts all rows or none: the key first, then the claims, then the seal. Returns when the
    /// answer is durable and, of what was accepted, can be read. `fingerprint` is SHA-256 over the
    /// decoded values that the client set.
    pub async fn commit(mut self, order_count: u32, fingerprint: [u8; 32]) -> Result<Commit, Busy> {
        let started = Instant::now();
        if let Some(replay) = self.known_key(fingerprint).await? {
            return Ok(replay);
        }
        let engine = self.engine.clone();
        let (commit, lsn) = self.claim_and_seal(order_count, fingerprint).await?;
        let journal = &engine.shared.journal;
        // A refusal rests on events that may not be durable yet (rule E1). What can be read is
        // durable, so whoever is accepted waits, and is woken, once.
        let answerable = match &commit {
            Commit::Accepted { .. } => journal.projected(),
            Commit::RowsRefused(_) | Commit::KeyReused { .. } => journal.watermark(),
        };
        answerable.wait_for(lsn).await;
        if let Commit::Accepted { batch, .. } = &commit {
            engine.shared.metrics.record(Stage::Accept, started.elapsed());
            let accepted = batch.counts.total() - batch.counts.refused;
            engine.shared.metrics.accepted(u64::from(accepted));
        }
        Ok(commit)
    }

    /// What a commit would answer to a key that is known; `None` when it would be new. Accepts
    /// nothing.
    pub async fn repeated(mut self, fingerprint: [u8; 32]) -> Result<Option<Commit>, Busy> {
        self.known_key(fingerprint).await
    }

    /// Claims every hash, then seals. While another upload that is not sealed either has one of
    /// them, it waits: a refusal rests on what is in the journal alone (rule E1).
    async fn claim_and_seal(
        mut self,
        order_count: u32,
        fingerprint: [u8; 32],
    ) -> Result<(Commit, Lsn), Busy> {
        loop {
            // Of rows that are refused anyway each owner is looked up by itself.
            let is_small = self.orders.len() <= INLINE_ROWS_MAX && self.refused.is_empty();
            let claim = move || {
                let claimed = self.claim();
                (self, claimed)
            };
            // Many look-ups in the views: not on a thread that serves others.
            let (upload, claimed) = if is_small {
                claim()
            } else {
                tokio::task::spawn_blocking(claim).await.map_err(|_| Busy::UnknownOutcome)?
            };
            self = upload;
            match claimed {
                Ok(claimed) => return self.seal(claimed, order_count, fingerprint),
                // The older of two goes first.
                Err(other) => {
                    let wait_ms = if self.batch < other { 1 } else { 10 };
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                }
            }
        }
    }

    /// The answer to a key that is known; `None` when this commit took the key.
    async fn known_key(&mut self, fingerprint: [u8; 32]) -> Result<Option<Commit>, Busy> {
        let key = &self.header.idempotency_key;
        loop {
            let batch = match self.engine.shared.intake.take_key(key) {
                Ok(()) => match self.engine.key_in_views(key) {
                    Some(batch) => {
                        self.engine.shared.intake.free_key(key);
                        batch
                    }
                    None => {
                        self.key_taken = true;
                        return Ok(None);
                    }
                },
                Err(Key::Bound(batch, lsn)) => {
                    self.engine.shared.journal.projected().wait_for(lsn).await;
                    batch
                }
                // A concurrent repeat waits for the first (API.md, I3).
                Err(Key::Pending) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            };
            let summary = self.engine.batch(batch).ok_or(Busy::UnknownOutcome)?;
            if summary.accepted.fingerprint == fingerprint {
                let batch = Box::new(summary);
                return Ok(Some(Commit::Accepted { batch, replayed: true }));
            }
            let difference = difference(&self.engine, &summary, &self.header, &self.orders);
            return Ok(Some(Commit::KeyReused { batch, difference }));
        }
    }

    /// Seals what was claimed. Every way out but acceptance leaves nothing.
    fn seal(
        mut self,
        Claimed { rows, refused: lost }: Claimed,
        order_count: u32,
        fingerprint: [u8; 32],
    ) -> Result<(Commit, Lsn), Busy> {
        let shared = Arc::clone(&self.engine.shared);
        let key = Arc::clone(&self.header.idempotency_key);
        if !lost.is_empty() {
            self.orders.clone_from(&rows);
            self.refused.extend(lost);
        }
        self.refused.sort_by_key(|refused| refused.row);
        let nothing_left = self.orders.is_empty();
        let accept_valid = self.header.options.accept_valid;
        let refused = !self.refused.is_empty() && (!accept_valid || nothing_left);
        let opened = if refused { Ok(()) } else { shared.intake.opened(self.orders.len()) };
        if refused || opened.is_err() {
            self.unclaim(&rows);
            opened?;
            let rows = std::mem::take(&mut self.refused);
            return Ok((Commit::RowsRefused(rows), shared.journal.last()));
        }
        let (batch, lsn) = self.append_seal(order_count, fingerprint);
        for (row, order) in &rows {
            shared.claims.seal(order.payment_hash, self.batch.payment(*row));
        }
        shared.intake.bind_key(&key, self.batch, lsn);
        let summary = Box::new(batch.summary.clone());
        self.hand_over(batch);
        Ok((Commit::Accepted { batch: summary, replayed: false }, lsn))
    }

    fn append_seal(&mut self, order_count: u32, fingerprint: [u8; 32]) -> (Batch, Lsn) {
        let header = self.header.clone();
        let sum = |of: fn(&Order) -> Msat| {
            let amounts = self.orders.iter().map(|(_, order)| of(order));
            amounts.fold(Msat::ZERO, Msat::saturating_add)
        };
        let accepted = Arc::new(Accepted {
            batch: self.batch,
            account: ACCOUNT.into(),
            idempotency_key: header.idempotency_key,
            fingerprint,
            content_digest: header.content_digest,
            single: header.single,
            options: header.options,
            description: header.description,
            metadata: header.metadata,
            order_count,
            amount: sum(|order| order.amount),
            fee_limit: sum(|order| order.fee_limit),
            refused: std::mem::take(&mut self.refused),
            time: now(),
        });
        // One behind the other, for one sync.
        self.journal(1);
        let lsn = self.engine.shared.journal.append(Event::BatchAccepted(Arc::clone(&accepted)));
        self.sealed = true;
        let orders = std::mem::take(&mut self.orders);
        (Batch::new(accepted, &orders, lsn), lsn)
    }

    fn hand_over(&self, batch: Batch) {
        let batch = Box::new(batch);
        if self.header.single {
            let singles = Arc::clone(&self.engine.singles);
            self.engine.shared.directory.insert(self.batch, Arc::clone(&singles));
            singles.inbox.deliver(BatchMessage::Adopt(batch));
        } else {
            self.engine.tasks.deliver(Task::Adopt(batch));
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.engine.shared.intake.close_upload(self.header.single);
        // Also when a commit was given up half way.
        if !self.sealed {
            self.unclaim(&self.orders);
            if self.key_taken {
                self.engine.shared.intake.free_key(&self.header.idempotency_key);
            }
        }
        if self.journaled > 0 && !self.sealed {
            self.engine.shared.journal.append(Event::UploadDropped { batch: self.batch });
        }
    }
}
