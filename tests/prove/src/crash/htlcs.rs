//! Money over real lnd, HTLC by HTLC: what receivers got of each payment, and what each channel of
//! the payers lost.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use fulgurite_proto::fulgurite::v1::{self as proto, payment::State};
use fulgurite_proto::lnrpc::{Channel, Payment, htlc_attempt::HtlcStatus};

use super::{books::hash_of, kills::Kills};

/// Balances of channels are in whole satoshi, rounded down, at the beginning and at the end.
const ROUNDING_MSAT: i64 = 2_000;

/// What a receiver's own lnd says of one invoice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Who gave the invoice out.
    pub receiver: &'static str,
    /// The node by which the payers reach it, when it is no peer of theirs.
    pub forwarder: Option<&'static str>,
    /// Its book calls the invoice settled: it has told the preimage, or was about to.
    pub is_settled: bool,
    /// What it received, in millisatoshi, when that is not what the settled invoice asks for.
    pub other_msat: Option<i64>,
    /// Each HTLC that its book has for the invoice: whether its channel got the money, for good;
    /// `None` while the channel has not decided.
    pub htlcs: Vec<Option<bool>>,
}

impl Received {
    /// How many HTLCs it got the money of.
    fn taken(&self) -> usize {
        self.htlcs.iter().filter(|taken| **taken == Some(true)).count()
    }

    /// The channel has not decided, and must.
    pub fn is_open(&self) -> bool {
        self.is_settled && self.htlcs.iter().any(Option::is_none)
    }
}

/// What was found of all payments.
#[derive(Debug, Default)]
pub struct Judged {
    /// Whatever must not be.
    pub wrong: Vec<String>,
    /// Payments that succeeded, whose killed receiver had told the preimage and gave the HTLC back.
    pub given_back: HashSet<[u8; 32]>,
    /// Payments that did not succeed, whose killed receiver calls the invoice settled and gave the
    /// HTLC back.
    pub settled_alone: HashSet<[u8; 32]>,
    /// Payments that did not succeed, whose receiver got an HTLC all the same: a killed node in
    /// between had sent it twice, and paid the first itself.
    pub paid_between: HashSet<[u8; 32]>,
}

/// Compares every payment, with or without an end, with what its receiver got. Nobody pays these
/// receivers but the engine. What killed nodes did on their own account is excused by a kill of
/// that node in the payment's life, and named.
pub fn judge<'a>(
    received: &BTreeMap<[u8; 32], Received>,
    kills: &Kills,
    payments: impl Iterator<Item = &'a proto::Payment>,
) -> Judged {
    let mut judged = Judged::default();
    for payment in payments {
        let Some((hash, got)) = hash_of(payment).and_then(|hash| received.get_key_value(&hash))
        else {
            judged.wrong.push(format!("{} pays no invoice of ours", payment.payment_id));
            continue;
        };
        let (id, receiver) = (&payment.payment_id, got.receiver);
        if let Some(msat) = got.other_msat {
            judged.wrong.push(format!("{receiver} received {msat} msat for {id}"));
        }
        let was_killed = kills.within(receiver, payment);
        let gave_back = got.is_settled && was_killed && !got.is_open();
        let between_was_killed = got.forwarder.is_some_and(|node| kills.within(node, payment));
        match (payment.state(), got.taken()) {
            (State::Succeeded, 1) => {}
            (State::Succeeded, 0) if gave_back => drop(judged.given_back.insert(*hash)),
            (State::Succeeded, 0) => {
                judged.wrong.push(format!("LOST: {id} succeeded, and {receiver} got nothing"));
            }
            (_, 0) if gave_back => drop(judged.settled_alone.insert(*hash)),
            (_, 0) if got.is_settled => {
                let line = format!("{id} is not paid, and {receiver} calls it settled");
                judged.wrong.push(line);
            }
            (_, 0) => {}
            // That no payer lost it is what the channels must show.
            (_, 1) if between_was_killed => drop(judged.paid_between.insert(*hash)),
            (State::Queued | State::InFlight, 1) => {
                judged.wrong.push(format!("{id} is under way, and {receiver} got it"));
            }
            (_, 1) => judged.wrong.push(format!("LOST: {id} is not paid, and {receiver} got it")),
            (_, taken) => {
                let line = format!("PAID TWICE: {receiver} got {taken} HTLCs of {id}");
                judged.wrong.push(line);
            }
        }
    }
    judged
}

/// What a payer's channel can still spend, with what is on its way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// In the channel, without HTLCs; what the commitment costs comes back to who opened it.
    pub balance_msat: i64,
    /// On its way out, by payment hash.
    pub outgoing: HashMap<[u8; 32], i64>,
}

/// What a payer owns, by channel. An HTLC is the payer's until its preimage is known.
///
/// # Errors
/// When lnd shows what is no payment hash.
pub fn owned(channels: &[Channel]) -> Result<BTreeMap<u64, Owned>> {
    let mut all = BTreeMap::new();
    for channel in channels {
        let mut owned = Owned {
            balance_msat: (channel.local_balance + channel.commit_fee) * 1_000,
            ..Owned::default()
        };
        for htlc in channel.pending_htlcs.iter().filter(|htlc| !htlc.incoming) {
            let hash: [u8; 32] = htlc.hash_lock.as_slice().try_into()?;
            *owned.outgoing.entry(hash).or_default() += htlc.amount * 1_000;
        }
        all.insert(channel.chan_id, owned);
    }
    Ok(all)
}

/// What a payer's own book says that each of its channels lost: the HTLCs that succeeded, less
/// those of `given_back` that went to the channel's peer itself. What a node further on gave back,
/// the peer keeps.
///
/// # Errors
/// When lnd shows what is no payment hash.
pub fn spent(payments: &[Payment], given_back: &HashSet<[u8; 32]>) -> Result<HashMap<u64, i64>> {
    let mut spent = HashMap::new();
    for payment in payments {
        let mut hash = [0; 32];
        hex::decode_to_slice(&payment.payment_hash, &mut hash)?;
        for attempt in &payment.htlcs {
            let Some(route) = &attempt.route else { continue };
            let is_back = given_back.contains(&hash) && route.hops.len() == 1;
            if let (HtlcStatus::Succeeded, false, [first, ..]) =
                (attempt.status(), is_back, route.hops.as_slice())
            {
                *spent.entry(first.chan_id).or_default() += route.total_amt_msat;
            }
        }
    }
    Ok(spent)
}

/// Compares each channel of a payer with its book.
pub fn compare_channels(
    payer: &str,
    (before, after): (&BTreeMap<u64, Owned>, &BTreeMap<u64, Owned>),
    spent: &HashMap<u64, i64>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (channel, was) in before {
        let Some(is) = after.get(channel) else {
            wrong.push(format!("{payer}'s channel {channel} is not open any more"));
            continue;
        };
        let now_msat = is.balance_msat + is.outgoing.values().sum::<i64>();
        let lost_msat = was.balance_msat - now_msat;
        let booked_msat = spent.get(channel).copied().unwrap_or_default();
        if (lost_msat - booked_msat).abs() > ROUNDING_MSAT {
            let kind = if lost_msat > booked_msat { "LOST: " } else { "" };
            wrong.push(format!(
                "{kind}{payer}'s channel {channel} lost {lost_msat} msat, its HTLCs that succeeded \
                 are {booked_msat}"
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use fulgurite_proto::lnrpc::{Hop, Htlc, HtlcAttempt, Route, payment::PaymentStatus};

    use super::*;

    const HASH: [u8; 32] = [0xaa; 32];
    const CHANNEL: u64 = 7;

    fn payment(state: State) -> proto::Payment {
        let hash = hex::encode(HASH);
        let mut payment =
            proto::Payment { payment_id: "pay_1".into(), payment_hash: hash, ..Default::default() };
        payment.set_state(state);
        payment
    }

    /// What `killed` or `bob` received.
    fn received(is_settled: bool, was_killed: bool, htlcs: &[Option<bool>]) -> Received {
        let receiver = if was_killed { "killed" } else { "bob" };
        Received { receiver, is_settled, htlcs: htlcs.to_vec(), ..Received::default() }
    }

    fn judged(state: State, got: Received) -> Judged {
        let mut kills = Kills::default();
        kills.note("killed");
        judge(&BTreeMap::from([(HASH, got)]), &kills, [payment(state)].iter())
    }

    #[test]
    fn money_that_moved_is_compared_with_what_was_told() {
        let (yes, no) = (Some(true), Some(false));
        for (state, got, said) in [
            (State::Succeeded, received(true, false, &[no, yes]), ""),
            (State::Failed, received(false, true, &[no]), ""),
            (State::Unresolved, received(false, true, &[]), ""),
            (State::Succeeded, received(false, true, &[no]), "LOST: pay_1 succeeded"),
            (State::Succeeded, received(true, false, &[no]), "LOST: pay_1 succeeded"),
            (State::Succeeded, received(true, true, &[None]), "LOST: pay_1 succeeded"),
            (State::Failed, received(true, true, &[yes]), "LOST: pay_1 is not paid"),
            (State::Unresolved, received(true, true, &[yes]), "LOST: pay_1 is not paid"),
            (State::Failed, received(true, false, &[no]), "pay_1 is not paid, and bob calls"),
            (State::Succeeded, received(true, true, &[yes, yes]), "PAID TWICE: killed got 2"),
            (State::Failed, received(true, true, &[yes, yes]), "PAID TWICE: killed got 2"),
            (State::InFlight, received(false, false, &[None]), ""),
            (State::InFlight, received(true, true, &[yes]), "pay_1 is under way, and killed"),
            (State::InFlight, received(true, true, &[yes, yes]), "PAID TWICE: killed got 2"),
        ] {
            let found = judged(state, got.clone());
            assert!(found.given_back.is_empty() && found.settled_alone.is_empty(), "{got:?}");
            let wrong = found.wrong.join("; ");
            assert!(wrong.starts_with(said) && wrong.is_empty() == said.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn a_killed_receiver_may_refuse_what_it_had_settled() {
        let back = received(true, true, &[Some(false)]);
        let found = judged(State::Succeeded, back.clone());
        assert_eq!((found.given_back.len(), found.wrong.len()), (1, 0), "{found:?}");
        let found = judged(State::Failed, back);
        assert_eq!((found.settled_alone.len(), found.wrong.len()), (1, 0), "{found:?}");
        let taken = received(true, true, &[Some(true), Some(false)]);
        let found = judged(State::Failed, Received { forwarder: Some("killed"), ..taken.clone() });
        assert_eq!((found.paid_between.len(), found.wrong.len()), (1, 0), "{found:?}");
        let found = judged(State::Failed, Received { forwarder: Some("bob"), ..taken.clone() });
        assert_eq!((found.paid_between.len(), found.wrong.len()), (0, 1), "{found:?}");
        let found = judged(State::Succeeded, Received { other_msat: Some(5), ..taken });
        assert_eq!(found.wrong, ["killed received 5 msat for pay_1"]);
    }

    fn channel(local_balance: i64, pending: i64) -> Channel {
        let htlc = Htlc { amount: pending, hash_lock: HASH.to_vec(), ..Default::default() };
        Channel { chan_id: CHANNEL, local_balance, pending_htlcs: vec![htlc], ..Default::default() }
    }

    fn paid(hops: usize) -> Payment {
        let hops = vec![Hop { chan_id: CHANNEL, ..Default::default() }; hops];
        let route = Some(Route { hops, total_amt_msat: 1_001_500, ..Default::default() });
        let mut attempt = HtlcAttempt { route, ..Default::default() };
        attempt.set_status(HtlcStatus::Succeeded);
        let failed = HtlcAttempt { status: HtlcStatus::Failed as i32, ..attempt.clone() };
        let (hash, htlcs) = (hex::encode(HASH), vec![failed, attempt]);
        let status = PaymentStatus::Succeeded as i32;
        Payment { payment_hash: hash, status, htlcs, ..Default::default() }
    }

    #[test]
    fn each_channel_lost_what_succeeded_over_it() {
        let before = owned(&[channel(10_000, 0)]).unwrap();
        let said = |now: &Channel, hops, back: &[[u8; 32]]| {
            let back = back.iter().copied().collect();
            let (after, spent) =
                (owned(std::slice::from_ref(now)).unwrap(), spent(&[paid(hops)], &back));
            compare_channels("alice", (&before, &after), &spent.unwrap()).join("; ")
        };
        assert_eq!(said(&channel(8_998, 0), 1, &[]), "");
        // What is on its way is the payer's yet.
        assert_eq!(said(&channel(8_000, 998), 1, &[]), "");
        assert!(said(&channel(8_995, 0), 1, &[]).starts_with("LOST: alice's channel 7"));
        assert!(said(&channel(10_000, 0), 1, &[]).starts_with("alice's channel 7"));
        assert_eq!(said(&channel(10_000, 0), 1, &[HASH]), "");
        // The node in between keeps what the last one gave back.
        assert_eq!(said(&channel(8_998, 0), 2, &[HASH]), "");
        let gone = compare_channels("alice", (&before, &BTreeMap::new()), &HashMap::new());
        assert!(gone[0].ends_with("not open any more"), "{gone:?}");
    }
}
