//! When actors wake by themselves: for a moment that brings something, and for no other.

use std::{rc::Rc, sync::Arc, time::Instant};

use fulgurite_core::{
    AttemptId, Msat, UnixMs, batch,
    event::NeverSent,
    order::{BatchOptions, Priority},
    payment::{self, State},
    port::{ChannelInfo, ChannelReport, NodeEvent},
    testing::batch_id,
    tracker::Outcome,
};
use tokio::sync::oneshot;

use crate::{
    actor_deaths::batch_options,
    batch_work::BatchWork,
    message::{BatchMessage, Grant, NodeMessage, Place, Placed, Request},
    sends_wait::{Bench, Heard, order},
    slot::Board,
};

/// What the node shows to batches: it takes so many more orders, 10 at most.
fn show(bench: &Bench, room: u32) {
    let (usable, idle) = (room > 0, Msat::MAX);
    // A batch may fill two windows.
    let (window, in_flight) = (5, 10 - room);
    *bench.node.board.lock() = Board { usable, window, in_flight, idle, ..Board::default() };
}

fn placed(bench: &Bench) -> Vec<Placed> {
    let place = |message| match message {
        NodeMessage::Place(place) => Some(place.placed),
        _ => None,
    };
    bench.told().into_iter().filter_map(place).collect()
}

/// The first attempt of the batch's first payment was not delivered, at this time.
fn retries(bench: &Bench, work: &mut BatchWork, time: Option<UnixMs>) -> UnixMs {
    show(bench, 5);
    work.drain(Vec::new());
    let first = placed(bench)[0];
    let grant = Grant { placed: first, channels: Vec::new(), at: Instant::now() };
    work.drain(vec![BatchMessage::Grant(grant)]);
    let time = time.unwrap_or(work.now);
    work.now = time;
    let outcome = Outcome::NeverSent(NeverSent::NotDelivered);
    let payment = first.attempt.payment;
    work.payment(payment, &payment::Input::from_outcome(first.attempt.number, outcome), time);
    let found = work.batches[&batch_id()].batch.payment(payment).expect("it is of the batch");
    let State::Queued { not_before } = found.state else { panic!("it waits: {found:?}") };
    not_before
}

/// When the orders' invoices are too old.
fn end() -> Option<UnixMs> {
    Some(order().invoice_expiry.plus_ms(-15_000 + 1))
}

#[test]
fn a_retry_wakes_a_batch_that_may_place_it_and_no_other() {
    let bench = Bench::new();
    let mut work = bench.batch_work(batch_options(), 1);
    let retry = retries(&bench, &mut work, None);
    work.drain(Vec::new());
    assert_eq!(work.wake_at(), Some(retry));
    let request = |input| {
        let reply = oneshot::channel().0;
        BatchMessage::Request(Request { batch: batch_id(), input, reply })
    };
    work.drain(vec![request(batch::Input::Pause)]);
    assert_eq!(work.wake_at(), end(), "it is paused");
    show(&bench, 0);
    work.drain(vec![request(batch::Input::Resume)]);
    assert_eq!(work.wake_at(), end(), "no node takes anything");
    show(&bench, 5);
    work.drain(vec![BatchMessage::Room(Priority::Normal.lane())]);
    assert_eq!(work.wake_at(), Some(retry));
}

#[test]
fn a_burst_is_followed_by_the_next_moment_of_its_rate() {
    // (places at the node, whether the rate is what the batch waits for)
    for (room, waits_for_rate) in [(5, true), (1, false)] {
        let bench = Bench::new();
        let limited = BatchOptions { payments_per_second_max: 1, ..batch_options() };
        let mut work = bench.batch_work(limited, 3);
        show(&bench, room);
        work.drain(Vec::new());
        assert_eq!(placed(&bench).len(), 1);
        let next = if waits_for_rate { Some(work.now.plus_ms(1_001)) } else { end() };
        assert_eq!(work.wake_at(), next, "{room} places");
    }
}

#[test]
fn what_is_due_is_not_put_off_by_what_comes_again_and_again() {
    let bench = Bench::new();
    let mut work = bench.batch_work(batch_options(), 1);
    work.drain(Vec::new());
    let end = end().expect("invoices end");
    // Outcomes of other payments, closer together than the batch is woken.
    for late_ms in [0, 4, 8] {
        work.now = end.plus_ms(late_ms);
        work.feed(batch_id());
        assert_eq!(work.wake_at(), Some(work.now), "{late_ms} ms late");
    }
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_holds_up_no_retry() {
    let bench = Bench::new();
    let mut work = bench.batch_work(batch_options(), 1);
    let in_an_hour = work.now.plus_ms(3_600_000);
    retries(&bench, &mut work, Some(in_an_hour));
    work.dispatch(in_an_hour);
    assert_eq!(placed(&bench), [], "it is too early by the clock that was");
    work.drain(Vec::new());
    let again: Vec<u16> = placed(&bench).iter().map(|placed| placed.attempt.number).collect();
    assert_eq!(again, [2]);
}

fn channel() -> ChannelInfo {
    ChannelInfo {
        short_channel_id: 1,
        remote_pubkey: "02".into(),
        active: true,
        capacity: Msat::ZERO,
        local_balance: Msat::ZERO,
        reserve: Msat::ZERO,
        commit_fee: Msat::ZERO,
        max_accepted_htlcs: 483,
        max_in_flight: Msat::ZERO,
        dust_limit: Msat::ZERO,
        outgoing: Arc::from([]),
    }
}

#[actix::test]
async fn a_node_waits_for_its_rate_only_while_its_window_has_room() {
    for (window, waits_for_rate) in [(2, true), (1, false)] {
        let (bench, heard) = (Bench::with(window, 1), Rc::<Heard>::default());
        let mut work = bench.node_work(&heard);
        let report = ChannelReport { open: vec![channel()], closed: None, number: 0 };
        let place = |row| {
            let attempt = AttemptId { payment: batch_id().payment(row), number: 1 };
            NodeMessage::Place(Place {
                placed: Placed { attempt, node: 0, incarnation: 0, placement: u64::from(row) },
                order: Arc::new(order()),
                priority: Priority::Normal,
                batch: Arc::clone(&bench.slot),
                incarnation: 0,
                at: Instant::now(),
            })
        };
        work.drain(vec![NodeMessage::Event(NodeEvent::Channels(report)), place(1), place(2)]);
        assert_eq!((work.granted.len(), work.queue.len()), (1, 1));
        assert_eq!(work.start_at.is_some(), waits_for_rate, "a window of {window}");
    }
}
