//! `SendPaymentV2` and nothing else: what an engine is measured against.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use fulgurite_proto::lnrpc::payment::PaymentStatus;
use tokio::sync::Semaphore;

use super::{Refusal, Slot, place};
use crate::{
    bare::{self, Router},
    run::{rig::Reach, scenario::Load, tally::End},
};

/// Connections to every node, in turn.
pub(crate) struct Bare {
    routers: Vec<Router>,
    next: AtomicUsize,
    calls: Arc<Semaphore>,
}

impl Bare {
    /// Connects to every node, so often as the load says.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn open(reach: &Reach, load: &Load, calls: Arc<Semaphore>) -> Result<Bare> {
        let mut routers = Vec::new();
        for _ in 0..load.connections {
            for node in &reach.nodes {
                routers.push(bare::connect(node).await?);
            }
        }
        anyhow::ensure!(!routers.is_empty(), "the bare client needs nodes: --fleet DIR");
        Ok(Bare { routers, next: AtomicUsize::new(0), calls })
    }

    /// Pays one invoice.
    ///
    /// # Errors
    /// When the call breaks.
    pub async fn send(&self, slot: &mut Slot) -> Result<(), Refusal> {
        let _place = place(&self.calls).await?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut router = self.routers[number % self.routers.len()].clone();
        slot.start();
        let payment = bare::pay(&mut router, slot.invoice()).await?;
        let (end, code) = match payment.status() {
            PaymentStatus::Succeeded => (End::Succeeded, None),
            PaymentStatus::Failed => {
                (End::Failed, Some(payment.failure_reason().as_str_name().to_owned()))
            }
            // The stream ended before the payment did.
            status => return Err(Refusal::broken(status.as_str_name())),
        };
        slot.ended(Instant::now(), end, code);
        Ok(())
    }
}
