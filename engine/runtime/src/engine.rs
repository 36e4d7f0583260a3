//! The engine as the doors see it: intake, questions, requests.

use std::sync::Arc;

use fulgurite_core::{
    BatchId, Lsn, Order, PaymentHash, PaymentId,
    batch::{self, Summary},
    order::RefusedRow,
    payment::{self, Payment, State},
    port::Journal,
};
use fulgurite_inbox::Inbox;
use fulgurite_journal::{Claim, Running, Views, views::ViewFault};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    claims::claimed,
    end::end,
    intake,
    message::{BatchMessage, PaymentRequest, Request},
    metrics::Metrics,
    slot::{BatchSlot, Shared},
    status::{Load, NodeStatus, Readiness},
    supervisor::Task,
    upload::{ACCOUNT, Busy, Commit, Header, Upload},
};

/// Which payment states a listing shows, by the names of API.md 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFilter {
    /// Nothing in flight.
    Queued,
    /// An attempt is alive.
    InFlight,
    /// A person decides.
    Unresolved,
    /// Paid.
    Succeeded,
    /// Not paid.
    Failed,
    /// Not paid, as asked.
    Cancelled,
}

impl StateFilter {
    fn takes(self, state: &State) -> bool {
        match self {
            StateFilter::Queued => matches!(state, State::Queued { .. }),
            StateFilter::InFlight => matches!(state, State::InFlight(_)),
            StateFilter::Unresolved => {
                matches!(state, State::Stuck(_) | State::Unresolved { .. })
            }
            StateFilter::Succeeded => matches!(state, State::Succeeded { .. }),
            StateFilter::Failed => matches!(state, State::Failed(_)),
            StateFilter::Cancelled => matches!(state, State::Cancelled),
        }
    }
}

/// Which payments a listing is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Among {
    /// A batch's payments, by row.
    Batch(BatchId),
    /// Every payment with this hash.
    Hash(PaymentHash),
    /// Every payment with this client reference.
    Reference(Arc<str>),
}

/// A handle on the running engine; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) views: Views,
    pub(crate) tasks: Arc<Inbox<Task>>,
    pub(crate) singles: Arc<BatchSlot>,
    pub(crate) running: Arc<Mutex<Option<Running>>>,
}

/// The disk failed under a question: nothing true can be said any more, so the process ends as it
/// does when a write fails.
pub(crate) fn sound<T>(answer: Result<T, ViewFault>) -> T {
    answer.unwrap_or_else(|fault| {
        let line = format!(
            "the journal's views cannot be read: {fault}; check the disk, then run `fulgurite \
             journal verify`"
        );
        end(74, &line)
    })
}

impl Engine {
    /// Opens an upload: limits, disk and load are looked at here (API.md, U4). `order_count` is
    /// what the client announced, 0 when it announced nothing.
    pub fn open_upload(&self, header: Header, order_count: u32) -> Result<Upload, Busy> {
        let intake = &self.shared.intake;
        // A repeat of what was accepted is answered whatever is full (API.md, I3): it adds nothing.
        let is_known = || self.knows_key(&header.idempotency_key);
        let floor = intake.limits().disk_floor_bytes;
        if floor > 0 && self.views.free_bytes().is_ok_and(|free| free < floor) && !is_known() {
            return Err(Busy::DiskLow);
        }
        match intake.open_upload(order_count as usize, header.single) {
            Err(Busy::TooManyOpen) if is_known() => intake.open_upload(0, header.single)?,
            opened => opened?,
        }
        let batch = BatchId::from_uuid(uuid::Uuid::now_v7().as_u128());
        Ok(Upload::new(self.clone(), header, batch))
    }

    /// What a finished upload with this key would be answered, without its rows (API.md, U4):
    /// `None` when the key is unknown or the digest differs or is empty.
    pub fn replay(&self, key: &str, content_digest: &str) -> Option<Commit> {
        let batch = self.batch_by_key(key)?;
        let same = !content_digest.is_empty() && *batch.accepted.content_digest == *content_digest;
        same.then(|| Commit::Accepted { batch: Box::new(batch), replayed: true })
    }

    /// The batch, or `None` when there is none with this id.
    pub fn batch(&self, batch: BatchId) -> Option<Summary> {
        sound(self.views.batch(batch))
    }

    /// The batch that this key belongs to.
    pub fn batch_by_key(&self, key: &str) -> Option<Summary> {
        self.batch(self.key_in_views(key)?)
    }

    /// A batch with this key was accepted, or is being accepted.
    pub(crate) fn knows_key(&self, key: &str) -> bool {
        self.shared.intake.key(key).is_some() || self.key_in_views(key).is_some()
    }

    pub(crate) fn key_in_views(&self, key: &str) -> Option<BatchId> {
        sound(self.views.batch_by_key(ACCOUNT, key))
    }

    /// Batches, newest first, from below `before` (all when `None`), at most `limit`.
    pub fn batches(&self, before: Option<BatchId>, singles: bool, limit: usize) -> Vec<Summary> {
        sound(self.views.batches(before, limit, singles, |_| true))
    }

    /// Rows of the batch that were refused, after row `after`.
    pub fn refused_rows(&self, batch: BatchId, after: u32, limit: usize) -> Vec<RefusedRow> {
        let Some(batch) = self.batch(batch) else {
            return Vec::new();
        };
        let later = batch.accepted.refused.iter().filter(|refused| refused.row > after);
        later.take(limit).cloned().collect()
    }

    /// The payment, or `None` when there is none with this id.
    pub fn payment(&self, payment: PaymentId) -> Option<Payment> {
        sound(self.views.payment(payment))
    }

    /// Payments by growing id from above `after`, in one of `states` (any when empty).
    pub fn payments(
        &self,
        among: &Among,
        states: &[StateFilter],
        after: Option<PaymentId>,
        limit: usize,
    ) -> Vec<Payment> {
        let keep =
            |state: &State| states.is_empty() || states.iter().any(|filter| filter.takes(state));
        let ids = match among {
            Among::Batch(batch) => {
                let row = after.map_or(0, PaymentId::row);
                return sound(self.views.payments_of_batch(*batch, row, limit, keep));
            }
            Among::Hash(hash) => sound(self.views.by_hash(*hash)),
            Among::Reference(reference) => sound(self.views.by_reference(reference.as_bytes())),
        };
        let later = ids.into_iter().filter(|id| after.is_none_or(|after| *id > after));
        let found = later.filter_map(|id| self.payment(id));
        found.filter(|payment| keep(&payment.state)).take(limit).collect()
    }

    pub(crate) fn orders(&self, batch: BatchId) -> Vec<(u32, Arc<Order>)> {
        let payments = sound(self.views.payments_of_batch(batch, 0, usize::MAX, |_| true));
        payments.into_iter().map(|payment| (payment.id.row(), payment.order)).collect()
    }

    pub(crate) fn owner(&self, hash: PaymentHash) -> Option<Claim> {
        sound(self.views.hash_claim(hash))
    }

    pub(crate) fn owners(&self, hashes: &[PaymentHash]) -> Vec<Option<Claim>> {
        sound(self.views.hash_claims(hashes))
    }

    /// What a commit would say of a row whose payment hash is another payment's; `None` when it is
    /// free. Claims nothing.
    pub fn claimed(&self, row: u32, order: &Order) -> Option<RefusedRow> {
        let hash = order.payment_hash;
        let in_memory = self.shared.claims.sealed(hash).filter(|owner| !self.is_free(*owner));
        let in_memory = in_memory.map(|owner| (Some(owner), self.is_paid(owner)));
        let in_memory =
            in_memory.or_else(|| self.shared.claims.is_elsewhere(hash).then_some((None, true)));
        let owner = || self.owner(hash).map(|claim| (claim.payment, claim.paid));
        let (owner, paid) = in_memory.or_else(owner)?;
        Some(claimed(row, order, owner, paid))
    }

    pub(crate) fn is_paid(&self, payment: PaymentId) -> bool {
        let found = self.payment(payment);
        found.is_some_and(|payment| matches!(payment.state, State::Succeeded { .. }))
    }

    /// The views know that the payment is not paid and never will be.
    pub(crate) fn is_free(&self, payment: PaymentId) -> bool {
        self.payment(payment).is_some_and(|payment| !payment.claims_hash())
    }

    /// Waits until the read model has passed `lsn`.
    pub async fn wait_past(&self, lsn: Lsn) {
        self.views.projected().wait_for(lsn + 1).await;
    }

    /// The LSN of the newest event: whoever waits past it reads all that has happened.
    pub fn newest(&self) -> Lsn {
        self.shared.journal.last()
    }

    /// The LSN that every answer covers at least.
    pub fn projected(&self) -> Lsn {
        self.views.projected().get()
    }

    /// Pauses, resumes or cancels; returns the batch once it is durable, `None` when there is no
    /// such batch.
    pub async fn request(
        &self,
        batch: BatchId,
        input: batch::Input,
    ) -> Result<Option<Summary>, Requested> {
        let Some(slot) = self.slot_of(batch).await else {
            return self.ended(batch, input);
        };
        let (reply, answer) = oneshot::channel();
        let request = BatchMessage::Request(Request { batch, input, reply });
        slot.inbox.offer(request).map_err(|_| Busy::Overloaded)?;
        // With the last hold on its inbox, a request that nobody reads any more is dropped too.
        drop(slot);
        match answer.await {
            Ok(Ok(summary)) => Ok(Some(summary)),
            Ok(Err(refusal)) if refusal != batch::Refusal::Finished => Err(refusal.into()),
            // It finished while the request was on its way.
            Ok(Err(_)) | Err(_) => self.ended(batch, input),
        }
    }

    /// The answer to a request to a batch that has no actor any more.
    fn ended(&self, batch: BatchId, input: batch::Input) -> Result<Option<Summary>, Requested> {
        match self.batch(batch) {
            None => Ok(None),
            // The views are behind what the batch knew when it ended.
            Some(found) if found.state != batch::State::Finished => {
                Err(Busy::UnknownOutcome.into())
            }
            // A repeat of the cancel that finished it.
            Some(found) if found.cancel_requested.is_some() && input == batch::Input::Cancel => {
                Ok(Some(found))
            }
            Some(_) => Err(batch::Refusal::Finished.into()),
        }
    }

    /// Cancels a payment that has no attempt under way. `None` without such a payment.
    pub async fn cancel_payment(&self, id: PaymentId) -> Result<Option<Payment>, PaymentRefused> {
        let Some(slot) = self.slot_of(id.batch()).await else {
            return match self.payment(id) {
                // The views are behind what the batch knew when it ended.
                Some(found) if !found.is_final() => Err(Busy::UnknownOutcome.into()),
                Some(found) if found.state != State::Cancelled => {
                    Err(payment::Refusal::AlreadyFinal.into())
                }
                found => Ok(found),
            };
        };
        if self.payment(id).is_none() {
            return Ok(None);
        }
        drop(slot);
        Ok(Some(self.ask_batch(id, payment::Input::Cancel, None).await?))
    }

    /// Hands an input about a payment to its batch's actor. Its answer is durable.
    pub(crate) async fn ask_batch(
        &self,
        payment: PaymentId,
        input: payment::Input,
        seen: Option<Lsn>,
    ) -> Result<Payment, PaymentRefused> {
        let Some(slot) = self.slot_of(payment.batch()).await else {
            return Err(Busy::UnknownOutcome.into());
        };
        let (reply, answer) = oneshot::channel();
        let request = PaymentRequest { payment, input, seen, reply };
        slot.inbox.offer(BatchMessage::PaymentRequest(request)).map_err(|_| Busy::Overloaded)?;
        // With the last hold on its inbox, a request that nobody reads any more is dropped too.
        drop(slot);
        Ok(answer.await.map_err(|_| Busy::UnknownOutcome)??)
    }

    /// The slot of an open batch. One that was just accepted gets its slot in a moment.
    pub(crate) async fn slot_of(&self, batch: BatchId) -> Option<Arc<BatchSlot>> {
        for _ in 0..100 {
            let slot = self.shared.directory.get(&batch).map(|slot| Arc::clone(slot.value()));
            let open =
                || self.batch(batch).is_some_and(|known| known.state != batch::State::Finished);
            if slot.is_some() || !open() {
                return slot;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        None
    }

    /// Every configured node.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.shared.nodes.present().iter().map(|node| node.shown()).collect()
    }

    /// How much waits and lives.
    pub fn load(&self) -> Load {
        let (open_payments, uploads) = self.shared.intake.live();
        let journal = &self.shared.journal;
        Load {
            open_payments: open_payments as u64,
            uploads: uploads as u64,
            journal_waiting: journal.depth() as u64,
            projector_lag: journal.watermark().get().saturating_sub(journal.projected().get()),
            disk_free_bytes: self.views.free_bytes().unwrap_or(0),
            journal: journal.totals(),
        }
    }

    /// The limits at the door.
    pub fn limits(&self) -> intake::Limits {
        self.shared.intake.limits()
    }

    /// Counters and histograms.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Whether orders are taken and can be paid.
    pub fn readiness(&self) -> Readiness {
        let nodes = self.nodes();
        let connected = nodes.iter().filter(|node| node.connected).count();
        Readiness {
            recovered: true,
            nodes_connected: u32::try_from(connected).unwrap_or(u32::MAX),
            nodes: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
            stopping: self.shared.intake.is_stopping(),
        }
    }

    /// Takes no new orders from now on and flushes the journal. Attempts that are in flight stay
    /// in flight at their nodes and are asked for at the next start. The process must end after.
    pub async fn stop(&self) {
        self.shared.intake.stop();
        let running = self.running.lock().take();
        if let Some(running) = running {
            // Joins two threads.
            drop(tokio::task::spawn_blocking(move || running.close()).await);
        }
    }
}

/// Why a request on a payment changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefused {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] payment::Refusal),
    /// The engine takes nothing now.
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// Why a request on a batch changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Requested {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] batch::Refusal),
    /// The engine takes nothing now.
    #[error(transparent)]
    Busy(#[from] Busy),
}
