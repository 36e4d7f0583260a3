//! What a person decides: how an unresolved payment ended (rule E20).

use std::sync::Arc;

use fulgurite_core::{
    AttemptId, PaymentId, Preimage,
    event::{Contradiction, Failure, Resolution, Verdict},
    order::Sealed,
    payment::{self, Attempt, AttemptEnd, Payment, State},
    resolve::{Finding, Wanted},
};
use tokio::sync::oneshot;

use crate::{
    engine::{Engine, PaymentRefused},
    message::{Inspect, NodeMessage},
    upload::Busy,
};

/// How a person wants to end an unresolved payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Paid: the proof.
    Paid(Preimage),
    /// Not paid.
    NotPaid {
        /// Why, for the journal.
        reason: Sealed,
        /// The second confirmation.
        confirm: bool,
        /// The node is lost for ever: nobody can be asked.
        node_lost: bool,
    },
}

/// Why a payment was not resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveRefused {
    /// The rules refuse it, or the engine takes nothing now.
    #[error(transparent)]
    Payment(#[from] PaymentRefused),
    /// An HTLC of it may live, or the node is still at it.
    #[error("an HTLC of it may live at {0}: it may still be paid")]
    MayLive(Arc<str>),
    /// The node says that it is paid.
    #[error("{0} says that it is paid: resolve it with its preimage")]
    PaidAtNode(Arc<str>),
    /// Nothing of it was seen for the first time: it must be looked for twice.
    #[error("{0} says in flight and shows no HTLC of it: ask again in ten seconds")]
    Quiet(Arc<str>),
    /// The node's word does not count (rule E19).
    #[error(
        "{0} is quarantined, its word does not count: check and trust it first, or say that it \
             is lost"
    )]
    NotBelieved(Arc<str>),
    /// The node cannot be asked.
    #[error("{0} cannot be asked now")]
    NodeAway(Arc<str>),
    /// The node is there: it is not lost.
    #[error("{0} answers: it is not lost")]
    NodeAnswers(Arc<str>),
    /// Everything was checked; the person must say it once more.
    #[error("{0}")]
    Unconfirmed(String),
}

impl From<Busy> for ResolveRefused {
    fn from(busy: Busy) -> ResolveRefused {
        ResolveRefused::Payment(busy.into())
    }
}

impl From<payment::Refusal> for ResolveRefused {
    fn from(refusal: payment::Refusal) -> ResolveRefused {
        ResolveRefused::Payment(refusal.into())
    }
}

impl Engine {
    /// Ends an unresolved payment as a person says. `Ok(None)` without such a payment. "Not paid"
    /// waits for the fence, which takes about 35 s, once.
    pub async fn resolve_payment(
        &self,
        id: PaymentId,
        by: Sealed,
        wish: Wish,
    ) -> Result<Option<Payment>, ResolveRefused> {
        let Some(found) = self.payment(id) else {
            return Ok(None);
        };
        let (verdict, reason) = match wish {
            Wish::Paid(preimage) => (Verdict::Paid(preimage), Sealed::plain("")),
            Wish::NotPaid { reason, confirm, node_lost } => {
                if found.state == State::Failed(Failure::OperatorDecision) {
                    return Ok(Some(found));
                }
                self.may_be_called_not_paid(&found, confirm, node_lost).await?;
                (Verdict::NotPaid, reason)
            }
        };
        let resolution = Arc::new(Resolution { verdict, by, reason });
        let input = payment::Input::Resolve(resolution);
        if found.is_final() {
            return if found.stands_as(&input) {
                Ok(Some(found))
            } else {
                Err(payment::Refusal::AlreadyFinal.into())
            };
        }
        // What was seen at the nodes was seen of the payment as it was then. A proof stays one.
        let seen = (verdict == Verdict::NotPaid).then_some(found.version);
        Ok(Some(self.ask_batch(id, input, seen).await?))
    }

    async fn may_be_called_not_paid(
        &self,
        payment: &Payment,
        confirm: bool,
        node_lost: bool,
    ) -> Result<(), ResolveRefused> {
        match payment.state {
            State::Stuck(_) | State::Unresolved { .. } => {}
            State::Queued { .. } | State::InFlight(_) => {
                return Err(payment::Refusal::NotUnresolved.into());
            }
            State::Succeeded { .. } | State::Failed(_) | State::Cancelled => {
                return Err(payment::Refusal::AlreadyFinal.into());
            }
        };
        // An earlier attempt over another node may be what it is unresolved for.
        let mut nodes: Vec<&Attempt> = Vec::new();
        for attempt in payment.attempts.iter().rev() {
            if nodes.iter().all(|known| known.node != attempt.node) {
                nodes.push(attempt);
            }
        }
        let lost = |attempt: &&&Attempt| node_lost && self.is_lost(attempt);
        let gone: Vec<&str> = nodes.iter().filter(lost).map(|attempt| &*attempt.node).collect();
        if let Some(first) = nodes.first().filter(|_| node_lost && gone.is_empty()) {
            return Err(ResolveRefused::NodeAnswers(Arc::clone(&first.node)));
        }
        let mut checked: Vec<String> = Vec::new();
        if nodes.is_empty() {
            let known = "no attempt of it was made here: whether what its node shows paid this \
                         order is your word alone";
            checked.push(known.to_owned());
        }
        if !gone.is_empty() {
            let gone = gone.join(", ");
            checked.push(format!("{gone} not asked: whether it was paid there is your word alone"));
        }
        for attempt in nodes.iter().filter(|attempt| !lost(attempt)) {
            checked.push(self.look(payment, attempt).await?);
        }
        if confirm {
            return Ok(());
        }
        Err(ResolveRefused::Unconfirmed(format!(
            "{}; to call it not paid for ever, send the same with `confirm`",
            checked.join("; ")
        )))
    }

    /// Nobody can be asked about the attempt.
    fn is_lost(&self, attempt: &Attempt) -> bool {
        // Whatever the node knows now, of this one it knows nothing.
        let is_forgotten = attempt.end == AttemptEnd::Contradicted(Contradiction::Forgotten);
        is_forgotten || !self.shared.nodes.find(&attempt.node).is_some_and(|node| node.answers())
    }

    /// Asks the attempt's node, and says what was seen there.
    async fn look(&self, payment: &Payment, attempt: &Attempt) -> Result<String, ResolveRefused> {
        let node = &attempt.node;
        let away = || ResolveRefused::NodeAway(Arc::clone(node));
        let slot = self.shared.nodes.find(node).ok_or_else(away)?;
        if !slot.standing.lock().is_believed() {
            return Err(ResolveRefused::NotBelieved(Arc::clone(node)));
        }
        let open = payment.state.open_attempt().filter(|open| open.attempt == attempt.number);
        let reserved = open.map(|at| at.channels.iter().map(|&(channel, _)| channel).collect());
        let wanted = Wanted {
            payment_hash: payment.order.payment_hash,
            reserved: reserved.unwrap_or_default(),
            // One that its node's quarantine made unresolved was not looked for.
            stuck: open.is_some() && !matches!(attempt.end, AttemptEnd::Suspended { .. }),
        };
        let (reply, finding) = oneshot::channel();
        let attempt = AttemptId { payment: payment.id, number: attempt.number };
        // Since it became unresolved, nothing was sent.
        let inspect = Inspect { attempt, wanted, sent_until: payment.updated, reply };
        let message = NodeMessage::Inspect(Box::new(inspect));
        slot.inbox.offer(message).map_err(|_| Busy::Overloaded)?;
        match finding.await.map_err(|_| Busy::UnknownOutcome)? {
            Finding::Nothing => {
                Ok(format!("no HTLC of it at {node}, and nothing of it can start there any more"))
            }
            Finding::Unproved => Ok(format!(
                "{node} says that it is paid, but its preimage is not this payment's and no HTLC \
                 of it lives: whether it was paid is your word alone"
            )),
            Finding::Quiet => Err(ResolveRefused::Quiet(Arc::clone(node))),
            Finding::Paid => Err(ResolveRefused::PaidAtNode(Arc::clone(node))),
            Finding::MayLive => Err(ResolveRefused::MayLive(Arc::clone(node))),
            Finding::Unreachable => Err(away()),
        }
    }
}
