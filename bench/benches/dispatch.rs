//! From a waiting order to its outcome without a node, a disk and a thread: the rules alone.

use std::hint::black_box;

use fulgurite_bench::{
    NOW, PREIMAGE, attempt,
    batch::{WITH_FEE, batch, channels, hash, node},
    criterion,
    group::Group,
    payment_id,
};
use fulgurite_core::{
    AttemptId, Msat,
    batch::Batch,
    channel::{Channel, Pick, Room, pick},
    dispatch::{Candidate, Choice, choose},
    node::Node,
    payment::Input,
    retry::RetryPolicy,
    schedule::Schedule,
    tracker::Outcome,
};
use fulgurite_runtime::claims::Claims;

/// Payments of the batch that is dispatched.
const ROWS: u32 = 500;

fn main() {
    let mut criterion = criterion();
    claim(&mut criterion);
    admission(&mut criterion);
    dispatch(&mut criterion);
    criterion.final_summary();
}

/// A hash gets its owner among a hundred thousand others, and loses it.
fn claim(criterion: &mut criterion::Criterion) {
    let mut group = Group::new(criterion, "claim");
    let (claims, payment) = (Claims::default(), payment_id());
    for number in 0..100_000 {
        claims.claim(hash(number), payment).expect("each hash is claimed once");
    }
    let free = hash(1_000_000);
    group.function("claimed, sealed and given back", || {
        claims.claim(black_box(free), payment).expect("nobody has it");
        claims.seal(free, payment);
        claims.unclaim(free, payment);
    });
    group.function("refused", || claims.claim(black_box(hash(7)), payment).is_err());
}

/// Whether a node and its channels take one more.
fn admission(criterion: &mut criterion::Criterion) {
    let mut group = Group::new(criterion, "admission");
    let (mut node, mut channels) = (node(NOW), channels());
    group.function("node", || node.is_usable(NOW) && node.room(NOW) > 0 && node.rate_allows(NOW));
    let rooms: Vec<Room> = channels.iter().map(Channel::room).collect();
    group.function("one of ten channels picked", || pick(black_box(&rooms), WITH_FEE));
    let attempt = AttemptId { payment: payment_id(), number: 1 };
    group.function("reserved and released", || {
        channels[0].reserve(black_box(attempt), WITH_FEE, NOW).expect("the channel is idle");
        channels[0].release(attempt, false);
    });
    let candidates: Vec<Candidate> =
        (0..4).map(|load| Candidate { usable: true, load, window: 100, carries: true }).collect();
    group.function("one of four nodes chosen", || choose(black_box(&candidates), None));
}

/// Every payment of a batch, one after the other.
fn dispatch(criterion: &mut criterion::Criterion) {
    let mut group = Group::new(criterion, "dispatch");
    group.each(u64::from(ROWS));
    let setup = || {
        let batch = batch(ROWS);
        let schedule = Schedule::new(&batch, RetryPolicy::default(), NOW);
        Way { batch, schedule, node: node(NOW), channels: channels() }
    };
    group.with(&format!("{ROWS} paid"), setup, |mut way| {
        while way.one() {}
        way
    });
}

/// What a payment passes on its way.
struct Way {
    batch: Batch,
    schedule: Schedule,
    node: Node,
    channels: Vec<Channel>,
}

impl Way {
    /// One payment, to its proof; false when none is left.
    fn one(&mut self) -> bool {
        let Some(at) = self.schedule.take(&self.batch.payments, NOW) else { return false };
        let payment = self.batch.payments[at as usize].id;
        let retry = RetryPolicy::default();
        let here = Candidate {
            usable: self.node.is_usable(NOW),
            load: self.node.in_flight(),
            window: self.node.window(),
            carries: true,
        };
        assert_eq!(choose(&[here], None), Choice::Node(0));
        assert!(self.node.room(NOW) > 0 && self.node.rate_allows(NOW));
        let rooms: Vec<Room> = self.channels.iter().map(Channel::room).collect();
        let Pick::Channels(parts) = pick(&rooms, WITH_FEE) else { panic!("the channels are idle") };
        let attempt_id = AttemptId { payment, number: 1 };
        let channel =
            self.channels.iter_mut().find(|one| one.room().short_channel_id == parts[0].0);
        let channel = channel.expect("the channel that was picked");
        channel.reserve(attempt_id, parts[0].1, NOW).expect("it was picked");
        self.node.started();
        let start = Input::Start(attempt());
        let event = self.batch.decide_payment(payment, &start, retry, NOW).expect("it may start");
        self.batch.apply(&event, 2);
        let amount = self.batch.payments[at as usize].order.amount;
        let fee_paid = Msat::from_sat_clamped(25);
        let settled = Input::Settled { attempt: 1, preimage: PREIMAGE, amount, fee_paid };
        let event = self.batch.decide_payment(payment, &settled, retry, NOW).expect("it is paid");
        self.batch.apply(&event, 3);
        channel.release(attempt_id, true);
        self.node.ended(&Outcome::Settled { preimage: PREIMAGE, amount, fee_paid }, NOW);
        self.schedule.ended(&self.batch.payments[at as usize]);
        true
    }
}
