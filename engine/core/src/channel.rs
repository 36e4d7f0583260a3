//! What the engine has reserved of one channel: HTLC slots, msat, fee exposure.
//!
//! lnd never queues: with a channel full it fails the payment at once (reference: lnd
//! routing/pathfind.go). So nothing is sent before its channel has room for it. A reservation
//! promises room in our own count; other users of the node are seen only through what the node
//! reports of the channel.

use std::cmp::Reverse;

use crate::{amount::Msat, id::AttemptId, map::HashMap, port::ChannelInfo, time::UnixMs};

/// How long a send may take to show in the node's own report of its channel, in milliseconds.
const SETTLING_MS: i64 = 2_000;
/// The most channels that one attempt is spread over; lnd's own default for parts is 16.
const SPREAD_MAX: usize = 16;
/// lnd does not split below this (`DefaultShardMinAmt`).
const SHARD_MIN: Msat = Msat::from_sat_clamped(10_000);

/// What stays free of every channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// HTLC slots that are never used, of the channel's `max_accepted_htlcs` (483 at most).
    pub slots_reserve: u32,
    /// The most that HTLCs below the dust limit may sum up to (lnd `channel-max-fee-exposure`).
    pub fee_exposure_max: Msat,
}

/// One channel and its reservations.
#[derive(Clone, Debug)]
pub struct Channel {
    info: ChannelInfo,
    limits: Limits,
    reservations: HashMap<AttemptId, Reservation>,
    /// Their sum, in millisatoshi.
    reserved: u64,
    /// Reserved or spent, and not yet in `info.local_balance`.
    unseen: Msat,
    dust: Msat,
    /// Slots that somebody else uses, by the last report.
    foreign_slots: u32,
}

#[derive(Clone, Copy, Debug)]
struct Reservation {
    amount: Msat,
    at: UnixMs,
}

/// Why nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The channel cannot be used.
    #[error("the channel is not active")]
    Inactive,
    /// Every HTLC slot is taken.
    #[error("no HTLC slot is free")]
    NoSlot,
    /// The balance does not carry it.
    #[error("the balance does not carry the amount")]
    NoBalance,
    /// Too much dust is in flight.
    #[error("the fee exposure of dust HTLCs is at its limit")]
    FeeExposure,
    /// The attempt already has a reservation here.
    #[error("the attempt already has a reservation")]
    Duplicate,
}

/// What a channel can take, as a number that others may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The short channel id.
    pub short_channel_id: u64,
    /// Free HTLC slots; 0 when the channel is not active.
    pub slots: u32,
    /// What can be sent now.
    pub available: Msat,
    /// What could be sent if none of our own reservations were in the way.
    pub idle: Msat,
    /// Amounts below this are dust.
    pub dust_limit: Msat,
    /// How much more dust may be in flight.
    pub dust_room: Msat,
}

impl Room {
    /// True when the channel can take an HTLC of `amount` now.
    fn takes(&self, amount: Msat) -> bool {
        let dusty = amount < self.dust_limit;
        self.slots > 0 && self.available >= amount && (!dusty || self.dust_room >= amount)
    }
}

impl Channel {
    /// A channel without reservations.
    pub fn new(info: ChannelInfo, limits: Limits) -> Channel {
        let foreign_slots = outgoing(&info);
        Channel {
            info,
            limits,
            reservations: HashMap::default(),
            reserved: 0,
            unseen: Msat::ZERO,
            dust: Msat::ZERO,
            foreign_slots,
        }
    }

    /// Takes the node's new report of the channel.
    pub fn reported(&mut self, info: ChannelInfo, now: UnixMs) {
        // What was reserved long enough ago is in the reported balance, or over.
        let young = self.reservations.values().filter(|own| now.since(own.at) < SETTLING_MS);
        let (unseen, count) = young.fold((Msat::ZERO, 0_u32), |(sum, count), own| {
            (sum.saturating_add(own.amount), count + 1)
        });
        self.unseen = unseen;
        let own = u32::try_from(self.reservations.len()).unwrap_or(u32::MAX);
        self.foreign_slots = outgoing(&info).saturating_sub(own.saturating_sub(count));
        self.info = info;
    }

    /// Reserves a slot and `amount` (its fee included) for an attempt.
    pub fn reserve(
        &mut self,
        attempt: AttemptId,
        amount: Msat,
        now: UnixMs,
    ) -> Result<(), Refusal> {
        let room = self.room();
        if self.reservations.contains_key(&attempt) {
            return Err(Refusal::Duplicate);
        }
        if !self.info.active {
            return Err(Refusal::Inactive);
        }
        if room.slots == 0 {
            return Err(Refusal::NoSlot);
        }
        if amount > room.available {
            return Err(Refusal::NoBalance);
        }
        if amount < self.info.dust_limit
            && self.dust.saturating_add(amount) > self.limits.fee_exposure_max
        {
            return Err(Refusal::FeeExposure);
        }
        self.restore(attempt, amount, now);
        Ok(())
    }

    /// Puts a reservation back after a restart, whatever the room: its HTLC exists.
    pub fn restore(&mut self, attempt: AttemptId, amount: Msat, now: UnixMs) {
        let before = self.reservations.insert(attempt, Reservation { amount, at: now });
        assert!(before.is_none(), "one reservation per attempt and channel");
        self.reserved += amount.get();
        self.unseen = self.unseen.saturating_add(amount);
        if amount < self.info.dust_limit {
            self.dust = self.dust.saturating_add(amount);
        }
    }

    /// Frees a reservation. What was `spent` stays counted until the node's next report.
    pub fn release(&mut self, attempt: AttemptId, spent: bool) {
        let Some(own) = self.reservations.remove(&attempt) else {
            return;
        };
        self.reserved -= own.amount.get();
        if !spent {
            self.unseen = self.unseen.saturating_sub(own.amount);
        }
        if own.amount < self.info.dust_limit {
            self.dust = self.dust.saturating_sub(own.amount);
        }
    }

    /// What the channel can take now.
    pub fn room(&self) -> Room {
        let balance = self.info.local_balance;
        let idle = balance.saturating_sub(self.info.reserve).saturating_sub(self.info.commit_fee);
        let short_channel_id = self.info.short_channel_id;
        if !self.info.active {
            return Room { short_channel_id, ..Room::default() };
        }
        let dust_limit = self.info.dust_limit;
        let dust_room = self.limits.fee_exposure_max.saturating_sub(self.dust);
        let used = u32::try_from(self.reservations.len()).unwrap_or(u32::MAX);
        let slots = self
            .info
            .max_accepted_htlcs
            .saturating_sub(self.limits.slots_reserve)
            .saturating_sub(used)
            .saturating_sub(self.foreign_slots);
        let in_flight = Msat::new(self.reserved).unwrap_or(Msat::MAX);
        let limit = self.info.max_in_flight.saturating_sub(in_flight);
        let available = idle.saturating_sub(self.unseen).min(limit);
        Room { short_channel_id, slots, available, idle, dust_limit, dust_room }
    }

    /// How many reservations it has.
    pub fn reserved(&self) -> usize {
        self.reservations.len()
    }
}

/// How many HTLCs we have pending in the channel.
fn outgoing(info: &ChannelInfo) -> u32 {
    u32::try_from(info.outgoing.len()).unwrap_or(u32::MAX)
}

/// How an attempt may leave a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// By these channels, with so much of each.
    Channels(Vec<(u64, Msat)>),
    /// Not now: the channels are busy.
    Busy,
    /// The channels could not carry it even if they were idle: let lnd say why.
    Never,
}

/// Picks the channels for `amount` (its fee included): one with the most free slots if any carries
/// it, else several.
pub fn pick(rooms: &[Room], amount: Msat) -> Pick {
    let usable = || rooms.iter().filter(|room| room.slots > 0);
    let single = usable().filter(|room| room.takes(amount));
    if let Some(best) = single.max_by_key(|room| (room.slots, room.available)) {
        return Pick::Channels(vec![(best.short_channel_id, amount)]);
    }
    let idle = rooms.iter().fold(Msat::ZERO, |sum, room| sum.saturating_add(room.idle));
    let largest = rooms.iter().map(|room| room.idle).max().unwrap_or(Msat::ZERO);
    if idle < amount || (largest < amount && amount < SHARD_MIN.saturating_add(SHARD_MIN)) {
        return Pick::Never;
    }
    if largest >= amount {
        return Pick::Busy;
    }
    let mut order: Vec<&Room> = usable().filter(|room| room.available >= SHARD_MIN).collect();
    order.sort_by_key(|room| Reverse(room.available));
    let mut left = amount;
    let mut parts = Vec::new();
    for room in order.into_iter().take(SPREAD_MAX) {
        let part = room.available.min(left);
        parts.push((room.short_channel_id, part));
        left = left.saturating_sub(part);
        if left == Msat::ZERO {
            return Pick::Channels(parts);
        }
    }
    Pick::Busy
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::BatchId;

    const NOW: UnixMs = UnixMs(1_000_000);

    fn sat(sat: u64) -> Msat {
        Msat::from_sat_clamped(sat)
    }

    fn attempt(row: u32) -> AttemptId {
        AttemptId { payment: BatchId::from_uuid(1 << 90).payment(row), number: 1 }
    }

    fn info(balance: u64) -> ChannelInfo {
        ChannelInfo {
            short_channel_id: 7,
            remote_pubkey: "02".into(),
            active: true,
            capacity: sat(1_000_000),
            local_balance: sat(balance),
            reserve: sat(10_000),
            commit_fee: sat(1_000),
            max_accepted_htlcs: 483,
            max_in_flight: sat(900_000),
            dust_limit: sat(354),
            outgoing: Arc::default(),
        }
    }

    fn channel(balance: u64) -> Channel {
        let limits = Limits { slots_reserve: 481, fee_exposure_max: sat(400) };
        Channel::new(info(balance), limits)
    }

    #[test]
    fn slots_balance_and_dust_are_limits() {
        let mut channel = channel(111_000);
        assert_eq!(channel.reserve(attempt(1), sat(100_001), NOW), Err(Refusal::NoBalance));
        assert_eq!(channel.reserve(attempt(1), sat(300), NOW), Ok(()));
        assert_eq!(channel.reserve(attempt(1), sat(300), NOW), Err(Refusal::Duplicate));
        assert_eq!(channel.reserve(attempt(2), sat(101), NOW), Err(Refusal::FeeExposure));
        assert_eq!(channel.reserve(attempt(2), sat(99_700), NOW), Ok(()));
        assert_eq!(channel.reserve(attempt(3), sat(1), NOW), Err(Refusal::NoSlot));
        channel.release(attempt(2), false);
        assert_eq!(channel.room().available, sat(99_700));
    }

    #[test]
    fn what_was_spent_stays_counted_until_the_node_reports_it() {
        let mut channel = channel(111_000);
        assert_eq!(channel.reserve(attempt(1), sat(60_000), NOW), Ok(()));
        channel.release(attempt(1), true);
        assert_eq!(channel.room().available, sat(40_000));
        channel.reported(info(51_000), NOW.plus_ms(10));
        assert_eq!(channel.room().available, sat(40_000));
        assert_eq!(channel.reserve(attempt(2), sat(40_000), NOW.plus_ms(10)), Ok(()));
        // A report that is too young to show the new HTLC does not give its amount away again.
        channel.reported(info(51_000), NOW.plus_ms(20));
        assert_eq!(channel.room().available, Msat::ZERO);
    }

    #[test]
    fn an_inactive_channel_has_no_room() {
        let mut channel = channel(111_000);
        channel.reported(ChannelInfo { active: false, ..info(111_000) }, NOW);
        assert_eq!(channel.reserve(attempt(1), sat(1), NOW), Err(Refusal::Inactive));
        assert_eq!(channel.room().slots, 0);
    }

    #[test]
    fn a_payment_takes_one_channel_if_it_can_and_several_if_it_must() {
        let room = |short_channel_id, slots, available, idle| Room {
            short_channel_id,
            slots,
            available: sat(available),
            idle: sat(idle),
            ..Room::default()
        };
        let rooms = [room(1, 5, 50_000, 60_000), room(2, 9, 40_000, 60_000)];
        assert_eq!(pick(&rooms, sat(40_000)), Pick::Channels(vec![(2, sat(40_000))]));
        assert_eq!(pick(&rooms, sat(50_000)), Pick::Channels(vec![(1, sat(50_000))]));
        assert_eq!(pick(&rooms, sat(60_000)), Pick::Busy);
        let both = vec![(1, sat(50_000)), (2, sat(30_000))];
        assert_eq!(pick(&rooms, sat(80_000)), Pick::Channels(both));
        assert_eq!(pick(&rooms, sat(100_000)), Pick::Busy);
        assert_eq!(pick(&rooms, sat(120_001)), Pick::Never);
        assert_eq!(pick(&[], sat(1)), Pick::Never);
    }
}
