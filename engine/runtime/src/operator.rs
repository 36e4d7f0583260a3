//! What a person decides: how an unresolved payment ended (rule E20), and how a node stands (rules
//! E19, E22).

use std::sync::Arc;

use fulgurite_core::{
    AttemptId, PaymentId, Preimage,
    event::{Contradiction, Failure, Resolution, Verdict},
    order::Sealed,
    payment::{self, Attempt, AttemptEnd, Payment, State},
    resolve::{Finding, Wanted},
    standing,
};
use tokio::sync::oneshot;

use crate::{
    engine::{Engine, PaymentRefused},
    message::{Inspect, NodeMessage, Steer},
    status::NodeStatus,
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

/// What a person wants of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeWish {
    /// No new attempt starts there; what is in flight ends.
    Drain,
    /// New attempts start there again.
    Undrain,
    /// It was checked, and is believed again.
    Trust {
        /// What was checked, for the journal.
        checked: Sealed,
    },
}

impl Engine {
    /// Steers a node; answered when that is durable, also when it stood so already. `Ok(None)`
    /// without a node of this name.
    pub async fn steer_node(
        &self,
        name: &str,
        by: Sealed,
        wish: NodeWish,
    ) -> Result<Option<NodeStatus>, Busy> {
        let Some(slot) = self.shared.nodes.find(name) else {
            return Ok(None);
        };
        let input = match wish {
            NodeWish::Drain => standing::Input::Drain(by),
            NodeWish::Undrain => standing::Input::Undrain(by),
            NodeWish::Trust { checked } => {
                standing::Input::Trust { identity_pubkey: None, by, checked }
            }
        };
        let (reply, lsn) = oneshot::channel();
        let message = NodeMessage::Steer(Steer { input, reply });
        slot.inbox.offer(message).map_err(|_| Busy::Overloaded)?;
        let lsn = lsn.await.map_err(|_| Busy::UnknownOutcome)?;
        Arc::clone(self.shared.journal.watermark()).wait_owned(lsn).await;
        Ok(Some(slot.shown()))
    }

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
        for attempt in &nodes {
            if node_lost {
                self.is_lost(attempt)?;
            } else {
                self.look(payment, attempt).await?;
            }
        }
        let names: Vec<&str> = nodes.iter().map(|attempt| &*attempt.node).collect();
        let names = names.join(", ");
        let checked = if node_lost {
            format!("{names} not asked: whether it was paid there is your word alone")
        } else {
            format!("no HTLC of it at {names}, and nothing of it can start there any more")
        };
        if confirm {
            return Ok(());
        }
        Err(ResolveRefused::Unconfirmed(format!(
            "{checked}; to call it not paid for ever, send the same with `confirm`"
        )))
    }

    fn is_lost(&self, attempt: &Attempt) -> Result<(), ResolveRefused> {
        let node = &attempt.node;
        // Whatever it knows now, of this one it knows nothing.
        if attempt.end == AttemptEnd::Contradicted(Contradiction::Forgotten) {
            return Ok(());
        }
        match self.shared.nodes.find(node) {
            Some(slot) if slot.status.lock().connected && slot.standing.lock().is_believed() => {
                Err(ResolveRefused::NodeAnswers(Arc::clone(node)))
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn look(&self, payment: &Payment, attempt: &Attempt) -> Result<(), ResolveRefused> {
        let node = &attempt.node;
        let away = || ResolveRefused::NodeAway(Arc::clone(node));
        let slot = self.shared.nodes.find(node).ok_or_else(away)?;
        let open = payment.state.open_attempt().filter(|open| open.attempt == attempt.number);
        let reserved = open.map(|at| at.channels.iter().map(|&(channel, _)| channel).collect());
        let wanted = Wanted {
            payment_hash: payment.order.payment_hash,
            reserved: reserved.unwrap_or_default(),
            stuck: open.is_some() && matches!(payment.state, State::Stuck(_)),
        };
        let (reply, finding) = oneshot::channel();
        let attempt = AttemptId { payment: payment.id, number: attempt.number };
        // Since it became unresolved, nothing was sent.
        let inspect = Inspect { attempt, wanted, sent_until: payment.updated, reply };
        let message = NodeMessage::Inspect(Box::new(inspect));
        slot.inbox.offer(message).map_err(|_| Busy::Overloaded)?;
        match finding.await.map_err(|_| Busy::UnknownOutcome)? {
            Finding::Nothing => Ok(()),
            Finding::Paid => Err(ResolveRefused::PaidAtNode(Arc::clone(node))),
            Finding::MayLive => Err(ResolveRefused::MayLive(Arc::clone(node))),
            Finding::Unreachable => Err(away()),
        }
    }
}
