//! What must be seen before a person may call an unresolved payment not paid (rules E15, E20).
//!
//! The fence comes first: nothing of the payment can start any more. Then the node is asked for the
//! payment, then for its channels. A person's word is for ever, so whatever is not certain refuses.

use crate::{
    id::PaymentHash,
    port::{ChannelInfo, ChannelReport, PaymentStatus, TrackReport},
    tracker::{FirstHop, may_live},
};

/// What the node showed behind the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing of it lives: a person may call it not paid.
    Nothing,
    /// The node says that it is paid, and its preimage is not the payment's: no proof. Nothing of
    /// it lives.
    Unproved,
    /// The node says in flight, and no channel shows an HTLC of it. One look alone cannot tell it
    /// from a result that is on its way to the payment.
    Quiet,
    /// The node says that it is paid.
    Paid,
    /// An HTLC of it may live, or the node is still at it.
    MayLive,
    /// The node cannot be asked now.
    Unreachable,
}

/// The unresolved payment that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// The channels that were reserved for its last attempt: it left by none other. Empty when it
    /// was free to leave by any.
    pub reserved: Vec<u64>,
    /// It was looked for in its channels before, and not found there (rule E15).
    pub stuck: bool,
}

impl Wanted {
    /// What the node's answer and its channels say. `channels` is what it listed afterwards.
    pub fn finding(&self, answer: &TrackReport, channels: &ChannelReport) -> Finding {
        let shows = |info: &ChannelInfo| info.outgoing.contains(&self.payment_hash);
        // Only of what the node still knows: what it forgot may have been paid on chain.
        let is_known = self.stuck && matches!(answer, TrackReport::Payment(_));
        let lives = |hops: &[u64]| {
            channels.open.iter().any(shows)
                || may_live(self.payment_hash, hops, |id| {
                    let listed = channels.open.iter().find(|info| info.short_channel_id == id);
                    match listed {
                        None if is_known && channels.has_resolved(id) => FirstHop::Resolved,
                        listed => listed.into(),
                    }
                })
        };
        let (over, hops) = match answer {
            TrackReport::Unreachable(_) => return Finding::Unreachable,
            TrackReport::Payment(payment) => match payment.status {
                PaymentStatus::Succeeded { preimage, .. }
                    if preimage.payment_hash() == self.payment_hash =>
                {
                    return Finding::Paid;
                }
                PaymentStatus::Succeeded { .. } => {
                    (Finding::Unproved, payment.first_hops.as_slice())
                }
                PaymentStatus::Failed(_) => (Finding::Nothing, [].as_slice()),
                PaymentStatus::InFlight if self.stuck => {
                    (Finding::Nothing, payment.first_hops.as_slice())
                }
                PaymentStatus::InFlight => (Finding::Quiet, payment.first_hops.as_slice()),
            },
            // A node that forgot it cannot say by which channel it left; that one may be closed.
            TrackReport::NotFound if self.reserved.is_empty() => return Finding::MayLive,
            TrackReport::NotFound => (Finding::Nothing, self.reserved.as_slice()),
        };
        if lives(hops) { Finding::MayLive } else { over }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        amount::Msat,
        port::{ClosedChannels, FailureReason, PaymentReport},
        testing::{NOW, channel, hash, preimage},
    };

    fn report(status: PaymentStatus, first_hops: &[u64]) -> TrackReport {
        TrackReport::Payment(PaymentReport {
            status,
            amount: Msat::ZERO,
            first_hops: first_hops.to_vec(),
            htlc_expiry_height: 0,
            created: NOW,
        })
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one answer, the channels and what may be said.
    fn only_what_certainly_does_not_live_may_be_called_not_paid() {
        let quiet = |id| ChannelInfo { short_channel_id: id, active: true, ..channel() };
        let away = |id| ChannelInfo { active: false, ..quiet(id) };
        let busy = |id| ChannelInfo { outgoing: [hash(1)].into(), ..quiet(id) };
        let flies = |hops: &[u64]| report(PaymentStatus::InFlight, hops);
        let failed = || report(PaymentStatus::Failed(FailureReason::NoRoute), &[]);
        let paid = report(
            PaymentStatus::Succeeded { preimage: preimage(1), fee_paid: Msat::ZERO }, &[],
        );
        let wrong = report(
            PaymentStatus::Succeeded { preimage: preimage(2), fee_paid: Msat::ZERO }, &[7],
        );
        let lost = TrackReport::Unreachable("gone".into());
        // Channel 9 is closed, and the chain is done with it.
        let closed = Some(ClosedChannels { resolved: vec![9], closing: 1 });
        for (stuck, reserved, answer, open, finding) in [
            (true,  &[7][..], flies(&[7]),            vec![quiet(7)],           Finding::Nothing),
            (true,  &[7],     flies(&[]),             vec![quiet(7)],           Finding::Nothing),
            (false, &[7],     flies(&[7]),            vec![quiet(7)],           Finding::Quiet),
            (false, &[7],     flies(&[7]),            vec![busy(7)],            Finding::MayLive),
            (false, &[],      flies(&[7]),            vec![away(7)],            Finding::MayLive),
            (false, &[],      wrong.clone(),          vec![quiet(7)],           Finding::Unproved),
            (false, &[],      wrong,                  vec![busy(7)],            Finding::MayLive),
            (true,  &[7],     flies(&[7]),            vec![busy(7)],            Finding::MayLive),
            (true,  &[7],     flies(&[7]),            vec![quiet(7), busy(8)],  Finding::MayLive),
            (true,  &[7],     flies(&[7]),            vec![away(7)],            Finding::MayLive),
            (true,  &[7],     flies(&[7]),            vec![quiet(8)],           Finding::MayLive),
            (true,  &[7],     flies(&[0]),            vec![quiet(7)],           Finding::MayLive),
            (false, &[7],     failed(),               vec![away(7)],            Finding::Nothing),
            (false, &[7],     failed(),               vec![busy(7)],            Finding::MayLive),
            (false, &[7],     TrackReport::NotFound,  vec![quiet(7), away(8)],  Finding::Nothing),
            (false, &[7],     TrackReport::NotFound,  vec![quiet(8)],           Finding::MayLive),
            (false, &[],      TrackReport::NotFound,  vec![quiet(7)],           Finding::MayLive),
            (false, &[],      TrackReport::NotFound,  vec![],                   Finding::MayLive),
            (true,  &[9],     flies(&[9]),            vec![quiet(7)],           Finding::Nothing),
            (true,  &[9],     flies(&[9, 7]),         vec![busy(7)],            Finding::MayLive),
            (false, &[9],     flies(&[9]),            vec![quiet(7)],           Finding::MayLive),
            (true,  &[9],     TrackReport::NotFound,  vec![quiet(7)],           Finding::MayLive),
            (true,  &[7],     paid,                   vec![quiet(7)],           Finding::Paid),
            (true,  &[7],     lost,                   vec![],               Finding::Unreachable),
        ] {
            let channels = ChannelReport { open, closed: closed.clone(), number: 1 };
            let wanted = Wanted { payment_hash: hash(1), reserved: reserved.to_vec(), stuck };
            assert_eq!(wanted.finding(&answer, &channels), finding, "{answer:?} {channels:?}");
        }
    }
}
