//! Channels that are closed by force: nothing new goes over them, and from then on the chain
//! decides about the HTLCs that they had, when the knobs say that it is done.

use fulgurite_proto::lnrpc::{
    self,
    pending_channels_response::{ForceClosedChannel, PendingChannel},
};

use crate::decide::Outcome;
use crate::network::Verdict;
use crate::node::Node;
use crate::payment::{FailureReason, Recipient};

/// What became of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    /// Its commitment transaction is on chain; what its HTLCs come to is not.
    Closing,
    /// All of it is decided.
    Resolved,
}

impl Node {
    fn fate(&self, channel: usize) -> Fate {
        let (closed, resolved) = (self.knobs.closed_channels, self.knobs.resolved_channels);
        match u32::try_from(channel).unwrap_or(u32::MAX) {
            number if number >= closed => Fate::Open,
            number if number >= resolved => Fate::Closing,
            _ => Fate::Resolved,
        }
    }

    /// The channel is in the list of open ones.
    pub fn is_open(&self, channel: usize) -> bool {
        self.fate(channel) == Fate::Open
    }

    fn crosses(&self, slot: u32, fate: Fate) -> bool {
        let shards = self.payments.get(slot).shards.as_slice();
        shards.iter().any(|shard| self.fate(usize::from(shard.channel)) == fate)
    }

    /// An HTLC of the payment waits for the chain: nobody else ends it.
    pub fn waits_for_chain(&self, slot: u32) -> bool {
        self.crosses(slot, Fate::Closing)
    }

    /// The knobs were turned: closes channels, and ends what the chain has decided.
    pub fn close_channels(&mut self) {
        for number in 0..self.channels.len() {
            self.channels[number].closed = !self.is_open(number);
        }
        let over = |slot: &u32| self.crosses(*slot, Fate::Resolved) && !self.waits_for_chain(*slot);
        let over: Vec<u32> = self.open.keys().copied().filter(over).collect();
        for slot in over {
            self.decide_on_chain(slot);
        }
    }

    /// With the preimage the HTLC is the peer's, else it times out.
    fn decide_on_chain(&mut self, slot: u32) {
        let Some(outcome) = self.open.get(&slot).map(|open| open.outcome) else {
            return;
        };
        let payment = self.payments.get(slot);
        let (payment_hash, amount_msat) = (payment.payment_hash, payment.amount_msat);
        let verdict = match (outcome, payment.recipient) {
            // No HTLC of it is on the channel: nothing comes of it before the node's next start.
            (Outcome::Zombie | Outcome::Uncommitted, _) => return,
            (Outcome::Stuck, _) => Verdict::Held,
            (Outcome::Settle, Recipient::Node) => {
                self.network.arrive(&payment_hash, self.identity.index, amount_msat)
            }
            (Outcome::Settle | Outcome::Fail(_), _) => return self.resolve(slot, outcome),
        };
        match verdict {
            Verdict::Settled(preimage) => self.end(slot, FailureReason::None, preimage),
            Verdict::Refused(reason) => self.end(slot, reason, [0; 32]),
            Verdict::Held => {
                // Its receiver gives it up, if the fleet knows one.
                let _ = self.network.cancel(payment_hash);
                self.end(slot, FailureReason::Timeout, [0; 32]);
            }
        }
    }

    /// At its start lnd gives up an attempt by a channel that is closed and resolved, when nothing
    /// is known of its end (lnd routing/router.go `failStaleAttempt`).
    pub fn is_stale(&self, slot: u32) -> bool {
        self.crosses(slot, Fate::Resolved)
    }

    fn channel_points(&self, fate: Fate) -> impl Iterator<Item = (usize, String)> {
        let numbers = (0..self.channels.len()).filter(move |number| self.fate(*number) == fate);
        numbers.map(|number| (number, self.channel_point(number)))
    }

    /// As lnd lists them.
    pub fn pending_channels(&self) -> lnrpc::PendingChannelsResponse {
        let force_closed = |(number, channel_point): (usize, String)| {
            let remote_node_pub = self.identity.peer_hex.clone();
            let capacity = (self.channels[number].capacity_msat / 1_000) as i64;
            let channel = PendingChannel { remote_node_pub, channel_point, capacity };
            ForceClosedChannel { channel: Some(channel), ..ForceClosedChannel::default() }
        };
        lnrpc::PendingChannelsResponse {
            pending_force_closing_channels: self
                .channel_points(Fate::Closing)
                .map(force_closed)
                .collect(),
            waiting_close_channels: Vec::new(),
        }
    }

    /// As lnd lists them.
    pub fn closed_channels(&self) -> lnrpc::ClosedChannelsResponse {
        let summary = |(number, channel_point): (usize, String)| lnrpc::ChannelCloseSummary {
            channel_point,
            chan_id: self.channels[number].chan_id,
            ..lnrpc::ChannelCloseSummary::default()
        };
        let channels = self.channel_points(Fate::Resolved).map(summary).collect();
        lnrpc::ClosedChannelsResponse { channels }
    }
}
