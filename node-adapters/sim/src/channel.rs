//! A node's channels: balances, reserves and the 483 slots, and how a payment is laid over them.

use crate::payment::{FailureReason, Shard, Shards};

/// How many HTLCs one side of a channel can have in flight (BOLT 2: `max_accepted_htlcs`).
pub(crate) const SLOTS: u32 = 483;

/// lnd's `DefaultShardMinAmt`: no part of a split payment is smaller, in millisatoshi.
const SHARD_MIN_MSAT: u64 = 10_000_000;

/// lnd's default for `max_parts`.
pub(crate) const MAX_PARTS: u32 = 16;

/// One channel.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    /// The `short_channel_id`.
    pub chan_id: u64,
    /// Both sides together.
    pub capacity_msat: u64,
    /// What is the node's, without what is in flight.
    pub local_msat: u64,
    /// What is in flight to the peer.
    pub in_flight_msat: u64,
    /// How many HTLCs are in flight.
    pub in_flight: u32,
    /// It was closed: nothing can be sent.
    pub closed: bool,
}

impl Channel {
    /// A channel whose whole capacity is on the node's side.
    pub fn new(chan_id: u64, capacity_msat: u64) -> Channel {
        Channel {
            chan_id,
            capacity_msat,
            local_msat: capacity_msat,
            in_flight_msat: 0,
            in_flight: 0,
            closed: false,
        }
    }

    /// What the node may never spend: 1 % of the capacity.
    pub fn reserve_msat(&self) -> u64 {
        self.capacity_msat / 100
    }

    /// What can be sent now, in millisatoshi: a closed channel or one without a free
    /// slot can send nothing.
    pub fn bandwidth_msat(&self) -> u64 {
        if self.closed || self.in_flight >= SLOTS {
            return 0;
        }
        self.local_msat.saturating_sub(self.reserve_msat())
    }

    /// Puts an HTLC in flight.
    pub fn reserve(&mut self, shard: &Shard) {
        let total_msat = shard.amount_msat + shard.fee_msat;
        // Below zero only after a start with smaller channels than the book knows.
        self.local_msat = self.local_msat.saturating_sub(total_msat);
        self.in_flight_msat += total_msat;
        self.in_flight += 1;
    }

    /// Takes an HTLC out: `settled` gives it to the peer, else it comes back.
    pub fn resolve(&mut self, shard: &Shard, settled: bool) {
        let total_msat = shard.amount_msat + shard.fee_msat;
        self.in_flight_msat -= total_msat;
        self.in_flight -= 1;
        if !settled {
            self.local_msat += total_msat;
        }
    }
}

/// The fee of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeePolicy {
    /// For each part, in millisatoshi.
    pub base_msat: u64,
    /// Parts per million of the amount.
    pub ppm: u64,
}

impl FeePolicy {
    /// The fee of a part, rounded down to a millisatoshi.
    pub fn fee_msat(&self, amount_msat: u64) -> u64 {
        let share = u128::from(amount_msat) * u128::from(self.ppm) / 1_000_000;
        self.base_msat.saturating_add(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// What the sender allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits<'a> {
    /// Of all parts together, in millisatoshi.
    pub fee_limit_msat: u64,
    /// How many parts at most, at least 1.
    pub max_parts: u32,
    /// The first hops it may use by `short_channel_id`; empty allows all.
    pub outgoing_chan_ids: &'a [u64],
}

/// Lays `amount_msat` over the channels, in one part if one channel can carry it, else in halves
/// as lnd does. Reserves nothing.
///
/// # Errors
/// The reason with which the payment fails at once.
pub(crate) fn plan(
    channels: &[Channel],
    amount_msat: u64,
    fees: FeePolicy,
    limits: Limits<'_>,
) -> Result<Shards, FailureReason> {
    let usable = |channel: &Channel| {
        limits.outgoing_chan_ids.is_empty() || limits.outgoing_chan_ids.contains(&channel.chan_id)
    };
    let allowed = channels.iter().enumerate().filter(|(_, channel)| usable(channel));
    let (mut total_msat, mut best) = (0_u64, (0, 0));
    for (index, channel) in allowed {
        let bandwidth_msat = channel.bandwidth_msat();
        total_msat = total_msat.saturating_add(bandwidth_msat);
        if bandwidth_msat > best.0 {
            best = (bandwidth_msat, index);
        }
    }
    if total_msat < amount_msat || total_msat == 0 {
        return Err(FailureReason::InsufficientBalance);
    }
    let fee_msat = fees.fee_msat(amount_msat);
    if amount_msat.saturating_add(fee_msat) <= best.0 {
        if fee_msat > limits.fee_limit_msat {
            return Err(FailureReason::NoRoute);
        }
        return Ok(Shards::One(Shard { channel: best.1 as u16, amount_msat, fee_msat }));
    }
    let mut copy: Vec<Channel> = channels.to_vec();
    copy.iter_mut().filter(|channel| !usable(channel)).for_each(|channel| channel.local_msat = 0);
    split(copy, amount_msat, fees, limits)
}

/// lnd's loop: the rest as one part, or half of it, or half of that, down to the smallest part.
fn split(
    mut channels: Vec<Channel>,
    amount_msat: u64,
    fees: FeePolicy,
    limits: Limits<'_>,
) -> Result<Shards, FailureReason> {
    let mut shards: Vec<Shard> = Vec::new();
    let (mut rest_msat, mut fee_left_msat) = (amount_msat, limits.fee_limit_msat);
    while rest_msat > 0 {
        let mut try_msat = rest_msat;
        let parts_left = limits.max_parts.saturating_sub(shards.len() as u32);
        let (channel, fee_msat) = loop {
            let fee_msat = fees.fee_msat(try_msat);
            let needed_msat = try_msat.saturating_add(fee_msat);
            let carries = |channel: &&(usize, u64)| channel.1 >= needed_msat;
            let widest = channels.iter().map(Channel::bandwidth_msat).enumerate();
            let widest = widest.max_by_key(|(_, bandwidth_msat)| *bandwidth_msat);
            if let Some((channel, _)) = widest.as_ref().filter(carries) {
                break (*channel, fee_msat);
            }
            // A part that leaves a rest needs another part for it.
            if parts_left < 2 || try_msat / 2 < SHARD_MIN_MSAT {
                return Err(FailureReason::NoRoute);
            }
            try_msat /= 2;
        };
        if parts_left == 0 {
            return Err(FailureReason::NoRoute);
        }
        fee_left_msat = fee_left_msat.checked_sub(fee_msat).ok_or(FailureReason::NoRoute)?;
        let shard = Shard { channel: channel as u16, amount_msat: try_msat, fee_msat };
        channels[channel].reserve(&shard);
        shards.push(shard);
        rest_msat -= try_msat;
    }
    Ok(Shards::from(shards))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: FeePolicy = FeePolicy { base_msat: 0, ppm: 0 };
    const PPM: FeePolicy = FeePolicy { base_msat: 1_000, ppm: 100 };

    fn limits(fee_limit_msat: u64, max_parts: u32, ids: &[u64]) -> Limits<'_> {
        Limits { fee_limit_msat, max_parts, outgoing_chan_ids: ids }
    }

    /// Channels 10, 11, 12 of 100,000, 50,000 and 30,000 sat: 99,000, 49,500, 29,700 spendable.
    fn three() -> Vec<Channel> {
        let sats = [100_000, 50_000, 30_000];
        sats.iter().zip(10..).map(|(sat, id)| Channel::new(id, sat * 1_000)).collect()
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one payment and how it is laid over the channels.
    fn payments_are_laid_over_the_channels_as_lnd_does() {
        use FailureReason::{InsufficientBalance, NoRoute};
        let three_parts = vec![(0, 60_000), (1, 30_000), (0, 30_000)];
        for (sat, fees, limits, expected) in [
            (99_000,  FREE, limits(0, 16, &[]),           Ok(vec![(0, 99_000)])),
            (99_000,  PPM,  limits(99_999, 1, &[]),       Err(NoRoute)),
            (99_001,  FREE, limits(0, 1, &[]),            Err(NoRoute)),
            (120_000, FREE, limits(0, 2, &[]),            Err(NoRoute)),
            (120_000, FREE, limits(0, 3, &[]),            Ok(three_parts)),
            (150_000, FREE, limits(0, 16, &[]),           Ok(vec![])),
            (178_000, FREE, limits(0, 16, &[]),           Err(NoRoute)),
            (178_201, FREE, limits(0, 16, &[]),           Err(InsufficientBalance)),
            (10,      PPM,  limits(0, 16, &[]),           Err(NoRoute)),
            (10,      PPM,  limits(1_001, 16, &[]),       Ok(vec![(0, 10)])),
            (10,      PPM,  limits(1_000, 16, &[]),       Err(NoRoute)),
            (20_000,  FREE, limits(0, 16, &[12]),         Ok(vec![(2, 20_000)])),
            (29_701,  FREE, limits(0, 16, &[12]),         Err(InsufficientBalance)),
            (40_000,  FREE, limits(0, 16, &[11, 12]),     Ok(vec![(1, 40_000)])),
            (1,       FREE, limits(0, 16, &[99]),         Err(InsufficientBalance)),
        ] {
            let planned = plan(&three(), sat * 1_000, fees, limits);
            match (planned, expected) {
                (Err(reason), expected) => assert_eq!(Err(reason), expected, "{sat}"),
                (Ok(shards), Ok(expected)) => {
                    let sum: u64 = shards.as_slice().iter().map(|part| part.amount_msat).sum();
                    assert_eq!(sum, sat * 1_000);
                    let parts: Vec<_> = shards.as_slice().iter()
                        .map(|part| (part.channel, part.amount_msat / 1_000)).collect();
                    assert!(expected.is_empty() || parts == expected, "{sat}: {parts:?}");
                    assert!(shards.as_slice().len() <= 16);
                }
                (Ok(shards), Err(reason)) => panic!("{sat}: {shards:?} instead of {reason:?}"),
            }
        }
    }

    #[test]
    fn exactly_483_htlcs_fit_a_channel() {
        let mut channel = [Channel::new(1, 100_000_000_000)];
        for _ in 0..SLOTS {
            let shards = plan(&channel, 1_000, FREE, limits(0, 16, &[]));
            let Ok(Shards::One(shard)) = shards else { panic!("{shards:?}") };
            channel[0].reserve(&shard);
        }
        let full = plan(&channel, 1_000, FREE, limits(0, 16, &[]));
        assert_eq!(full, Err(FailureReason::InsufficientBalance));
        let shard = Shard { channel: 0, amount_msat: 1_000, fee_msat: 0 };
        channel[0].resolve(&shard, true);
        assert!(plan(&channel, 1_000, FREE, limits(0, 16, &[])).is_ok());
        assert_eq!(channel[0].local_msat, 100_000_000_000 - 483_000);
        assert_eq!(channel[0].in_flight_msat, 482_000);
    }
}
