//! What the clone guard waits for, and what waits for it (rule E18): an actor's own work.

use std::{rc::Rc, sync::atomic::Ordering};

use fulgurite_core::{
    Event,
    port::{Command, Journal, NodeEvent, Whose},
};

use crate::{
    clock::now,
    clone_guard::{refuse, wait_withdrawn},
    message::NodeMessage,
    node_work::NodeWork,
    sends_wait::{Bench, Heard, asking, attempt_id, connected},
};

fn has_sent(heard: &Heard) -> bool {
    heard.0.borrow().iter().any(|command| matches!(command, Command::Send(_)))
}

/// Answers whatever asks for the node's payments: there are none.
fn list_nothing(work: &mut NodeWork, heard: &Rc<Heard>) {
    for _ in 0..3 {
        let asked = |command: &Command| match command {
            Command::ListPayments(call) => Some(*call),
            _ => None,
        };
        let Some(call) = heard.0.borrow().iter().rev().find_map(asked) else {
            return;
        };
        let page = Ok(Vec::new());
        work.drain(vec![NodeMessage::Event(NodeEvent::Payments { call, page })]);
    }
}

/// The last call that had the keys of older engines revoked.
fn last_revocation(heard: &Rc<Heard>) -> u64 {
    let asked = |command: &Command| match command {
        Command::Revoke(Whose::Older(call)) => Some(*call),
        _ => None,
    };
    heard.0.borrow().iter().rev().find_map(asked).expect("older keys are revoked")
}

#[test]
fn nothing_is_sent_once_the_engine_withdraws_its_keys_by_a_rebuilt_actor_neither() {
    for withdraws in [false, true] {
        let (bench, heard) = (Bench::new(), Rc::<Heard>::default());
        bench.shared.withdraws.store(withdraws, Ordering::Release);
        // The actor that heard of it is dead: this one is told nothing.
        let mut work = asking(&bench, &heard);
        bench.wait_durable();
        work.drain(vec![NodeMessage::Permission(attempt_id(), true)]);
        assert_eq!(has_sent(&heard), !withdraws);
    }
}

#[test]
fn an_engine_that_withdraws_its_keys_is_not_cut_off_by_that_and_says_where_they_stay() {
    let (bench, heard) = (Bench::new(), Rc::<Heard>::default());
    let mut work = asking(&bench, &heard);
    bench.told();
    bench.shared.withdraws.store(true, Ordering::Release);
    work.withdraw();
    let fenced = NodeEvent::Fenced { epoch: 1, reason: "its macaroon was revoked".to_owned() };
    let older = NodeEvent::Revoked(Whose::Older(1), Ok(()));
    work.drain(vec![NodeMessage::Event(fenced), NodeMessage::Event(older)]);
    assert!(bench.told().is_empty(), "it does not end anew, and for good");
    assert_eq!(bench.node.compared.lock().withdrawn, None, "the older keys, not its own");
    for (revoked, says) in [(Err("no connection".to_owned()), true), (Ok(()), false)] {
        work.drain(vec![NodeMessage::Event(NodeEvent::Revoked(Whose::Own, revoked))]);
        let line = wait_withdrawn(&bench.shared);
        assert_eq!(line.contains("could not be deleted at a:"), says, "{line}");
        assert_eq!(line.is_empty(), !says);
    }
}

#[test]
fn no_key_is_cut_before_it_is_durable_that_the_engine_is_refused() {
    let bench = Bench::new();
    let cuts = |told: &[NodeMessage]| told.iter().any(|one| matches!(one, NodeMessage::Withdraw));
    let refused = Event::NotAlone { node: "a".into(), epoch: 9, time: now() };
    let mut looked = false;
    refuse(&bench.shared, refused, |lsn| {
        assert_eq!(lsn, bench.journal().last());
        assert!(!cuts(&bench.told()), "a kill now would forget the refusal");
        looked = true;
    });
    assert!(looked && cuts(&bench.told()));
}

#[test]
fn what_came_of_a_call_over_an_earlier_connection_revokes_nothing_over_this_one() {
    let (bench, heard) = (Bench::new(), Rc::<Heard>::default());
    bench.shared.witness.joins(0);
    let mut work = bench.node_work(&heard);
    list_nothing(&mut work, &heard);
    let first = last_revocation(&heard);
    work.drain(vec![NodeMessage::Event(NodeEvent::Disconnected { reason: "cut".to_owned() })]);
    let may_send_after = |work: &mut NodeWork, call| {
        let revoked = NodeEvent::Revoked(Whose::Older(call), Ok(()));
        work.drain(vec![NodeMessage::Event(revoked)]);
        list_nothing(work, &heard);
        !bench.shared.witness.waits_for(0)
    };
    assert!(!may_send_after(&mut work, first), "it is not connected");
    work.drain(vec![connected()]);
    list_nothing(&mut work, &heard);
    let second = last_revocation(&heard);
    assert!(second > first, "this connection's keys are revoked too");
    assert!(!may_send_after(&mut work, first), "other keys may be there now");
    assert!(may_send_after(&mut work, second));
}
