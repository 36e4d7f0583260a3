//! What a person decides about a whole node: steering it, and the payments of one that is lost for
//! ever (rules E19, E20).

use std::{sync::Arc, time::Duration};

use fulgurite_core::{
    Msat, PaymentId,
    order::Sealed,
    payment::{Payment, Refusal, State},
    standing,
};
use futures::{StreamExt, stream};
use tokio::sync::oneshot;

use crate::{
    engine::{Engine, PaymentRefused},
    message::{NodeMessage, Steer},
    operator::{ResolveRefused, Wish},
    slot::NodeSlot,
    status::NodeStatus,
    upload::Busy,
};

/// How many payments of a lost node are ended at once.
const AT_ONCE: usize = 64;
/// How often a payment is looked at until its batch knows that the node is lost.
const LOOKS_MAX: u32 = 250;
/// The time between two looks.
const LOOK_EACH: Duration = Duration::from_millis(20);

/// What a person wants of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeWish {
    /// No new attempt starts there; what is in flight ends.
    Drain,
    /// New attempts start there again.
    Undrain,
    /// It was checked, and is sent to again (ADR 11).
    Trust {
        /// What was checked, for the journal.
        checked: Sealed,
    },
}

/// What became of the payments of a lost node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeResolved {
    /// How many were ended as not paid.
    pub payments: u32,
    /// What they were to pay, without fees.
    pub amount: Msat,
    /// Those that could not be ended.
    pub left: Vec<PaymentId>,
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
        self.stand(&slot, input).await?;
        Ok(Some(slot.shown()))
    }

    async fn stand(&self, slot: &NodeSlot, input: standing::Input) -> Result<(), Busy> {
        let (reply, lsn) = oneshot::channel();
        let message = NodeMessage::Steer(Steer { input, reply });
        slot.inbox.offer(message).map_err(|_| Busy::Overloaded)?;
        let lsn = lsn.await.map_err(|_| Busy::UnknownOutcome)?;
        Arc::clone(self.shared.journal.watermark()).wait_owned(lsn).await;
        Ok(())
    }

    /// Ends every payment that is open or unresolved at a node that is lost for ever as not paid:
    /// whether they were is the person's word alone. From then on the node is not believed.
    /// `Ok(None)` without such a node or payments.
    ///
    /// # Errors
    /// When the node answers, or without `confirm`, with what would be ended.
    pub async fn resolve_node(
        &self,
        name: &str,
        (by, reason): (Sealed, Sealed),
        confirm: bool,
    ) -> Result<Option<NodeResolved>, ResolveRefused> {
        let slot = self.shared.nodes.find(name);
        let open = self.open_at(name);
        if slot.is_none() && open.is_empty() {
            return Ok(None);
        }
        if let Some(slot) = slot.as_ref().filter(|slot| slot.answers()) {
            return Err(ResolveRefused::NodeAnswers(Arc::clone(&slot.name)));
        }
        if !confirm {
            let amount = open.iter().fold(Msat::ZERO, |sum, (_, one)| sum.saturating_add(*one));
            return Err(ResolveRefused::Unconfirmed(format!(
                "{} payments of {amount} in all are open at {name}: whether they were paid there \
                 is your word alone; to call all of them not paid for ever, and to believe the \
                 node no more, send the same with `confirm`",
                open.len()
            )));
        }
        if let Some(slot) = &slot {
            self.stand(slot, standing::Input::Lost).await?;
        }
        let wish = Wish::NotPaid { reason, confirm: true, node_lost: true };
        let ended = stream::iter(open).map(|(id, amount)| {
            let (by, wish) = (by.clone(), wish.clone());
            async move { (id, amount, self.resolve_when_known(id, by, wish).await) }
        });
        let mut resolved = NodeResolved::default();
        let mut ended = ended.buffer_unordered(AT_ONCE);
        while let Some((id, amount, is_ended)) = ended.next().await {
            if is_ended {
                resolved.payments += 1;
                resolved.amount = resolved.amount.saturating_add(amount);
            } else {
                resolved.left.push(id);
            }
        }
        resolved.left.sort_unstable();
        Ok(Some(resolved))
    }

    /// Payments that are open or unresolved because of an attempt at this node.
    fn open_at(&self, name: &str) -> Vec<(PaymentId, Msat)> {
        let at = |payment: &&Payment| match &payment.state {
            State::InFlight(attempt) | State::Stuck(attempt) => *attempt.node == *name,
            State::Unresolved { attempt, .. } => {
                let of = payment.attempts.iter().find(|one| one.number == *attempt);
                of.is_some_and(|attempt| *attempt.node == *name)
            }
            State::Queued { .. }
            | State::Succeeded { .. }
            | State::Failed(_)
            | State::Cancelled => false,
        };
        self.views.read_open(|book| {
            let payments = book.batches.values().flat_map(|batch| &batch.payments);
            payments.filter(at).map(|payment| (payment.id, payment.order.amount)).collect()
        })
    }

    /// Resolves a payment once its batch knows that its node is not believed.
    async fn resolve_when_known(&self, id: PaymentId, by: Sealed, wish: Wish) -> bool {
        for _ in 0..LOOKS_MAX {
            match self.resolve_payment(id, by.clone(), wish.clone()).await {
                Err(ResolveRefused::Payment(
                    PaymentRefused::Refused(Refusal::NotUnresolved | Refusal::Changed)
                    | PaymentRefused::Busy(Busy::Overloaded),
                )) => tokio::time::sleep(LOOK_EACH).await,
                Ok(Some(_)) => return true,
                Ok(None) | Err(_) => return false,
            }
        }
        false
    }
}

impl NodeSlot {
    /// It is connected, and what it says counts.
    pub(crate) fn answers(&self) -> bool {
        self.status.lock().connected && self.standing.lock().is_believed()
    }
}
