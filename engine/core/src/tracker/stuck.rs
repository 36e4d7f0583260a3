//! Rule E15: payments that a node shows in flight although no HTLC of them is alive.
//!
//! An lnd that is killed between taking a payment and committing its HTLC to the channel (up to 50
//! ms, `channel-commit-interval`) shows it IN_FLIGHT for ever: the half-open circuit stays in its
//! circuit map, so that a restart finds the attempt known and waits for a result that nobody will
//! bring (lnd htlcswitch/switch.go `GetAttemptResult`). The real-lnd tests print how many.
//!
//! lnd lists an HTLC of a channel once it is on *both* commitment transactions (lnd
//! channeldb/channel.go `ActiveHtlcs`), so a channel proves nothing while its peer is away.

use super::{Action, Context, Phase, Tracker};
use crate::{
    id::PaymentHash,
    port::{ChannelInfo, PaymentReport},
    time::UnixMs,
};

/// The least time between the two looks that make a payment stuck, in milliseconds: a result on
/// its way from the channel to the payment is long there by then.
pub const LOOKS_APART_MS: i64 = 10_000;

/// What is known about HTLCs of a payment that is in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct Liveness {
    /// The first hops of its HTLCs, by the node's last word.
    first_hops: Vec<u64>,
    /// The height by which the last of them comes back, by the same word; 0 when it has none.
    htlc_expiry_height: u32,
    /// When a look at the channels first found nothing.
    nothing_since: Option<UnixMs>,
    pub(super) is_stuck: bool,
}

impl Liveness {
    pub(super) fn reported(&mut self, payment: &PaymentReport) {
        self.htlc_expiry_height = payment.htlc_expiry_height;
        if self.first_hops != payment.first_hops {
            self.first_hops.clear();
            self.first_hops.extend_from_slice(&payment.first_hops);
            self.nothing_since = None;
        }
    }
}

/// What is known of the channel by which an HTLC left.
#[derive(Clone, Copy, Debug)]
pub enum FirstHop<'a> {
    /// It is open.
    Open(&'a ChannelInfo),
    /// It is closed, and nothing of it is left to be decided on chain, says the node.
    Resolved,
    /// Neither is known: it may be closing, and its HTLCs are decided on chain, hours later.
    Unknown,
}

impl<'a> From<Option<&'a ChannelInfo>> for FirstHop<'a> {
    fn from(listed: Option<&'a ChannelInfo>) -> FirstHop<'a> {
        listed.map_or(FirstHop::Unknown, FirstHop::Open)
    }
}

/// Whether an HTLC of the payment may be alive, given the channels by which its HTLCs left, by the
/// node's last word. Only an open, active channel that does not show the hash says no, and one with
/// which the chain is done.
pub fn may_live<'a>(
    payment_hash: PaymentHash,
    first_hops: &[u64],
    channel: impl Fn(u64) -> FirstHop<'a>,
) -> bool {
    first_hops.iter().any(|hop| match channel(*hop) {
        FirstHop::Open(info) => !info.active || info.outgoing.contains(&payment_hash),
        FirstHop::Resolved => false,
        FirstHop::Unknown => true,
    })
}

impl Tracker {
    /// An attempt that an earlier engine or actor found stuck.
    pub fn stuck(mut self) -> Tracker {
        self.liveness.is_stuck = true;
        self
    }

    /// The block height by which what is in flight comes back at the latest, by the node's last
    /// word; 0 when it is not known.
    pub fn htlc_expiry_height(&self) -> u32 {
        self.liveness.htlc_expiry_height
    }

    /// It was found stuck.
    pub fn is_stuck(&self) -> bool {
        self.liveness.is_stuck
    }

    /// The channels by which its HTLCs left, when it is in flight for longer than `after_ms` past
    /// the time in which the node starts HTLCs: its channels should be looked at.
    pub fn suspect(&self, now: UnixMs, after_ms: i64) -> Option<&[u64]> {
        let age = now.since(self.started) - i64::from(self.attempt.timeout_seconds) * 1_000;
        let watching = matches!(self.phase, Phase::Watching(_));
        (watching && age > after_ms && !self.is_stuck()).then_some(&*self.liveness.first_hops)
    }

    /// Two looks, and between them the node's word that it is in flight still.
    pub(super) fn on_look(&mut self, alive: bool, context: &mut Context<'_>) -> Option<Action> {
        if self.is_stuck() || !matches!(self.phase, Phase::Watching(_)) {
            return None;
        }
        if alive {
            self.liveness.nothing_since = None;
            return None;
        }
        match self.liveness.nothing_since {
            None => {
                self.liveness.nothing_since = Some(context.now);
                self.ask(context)
            }
            Some(since) if context.now.since(since) >= LOOKS_APART_MS => {
                self.liveness.is_stuck = true;
                Some(Action::Stuck)
            }
            Some(_) => None,
        }
    }
}
