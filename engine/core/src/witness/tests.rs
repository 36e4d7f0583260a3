use std::sync::Arc;

use super::*;
use crate::{
    event::{
        AttemptStarted, Contradiction, Failure, NeverSent, Next, PaymentChange, Resolution, Verdict,
    },
    id::PaymentHash,
    order::Sealed,
    port::FailureReason,
    testing::{NOW, attempt, batch, options, order, preimage},
};

const LATER: i64 = 3_600_000;

fn listed(index: u64, created: i64, state: ListedState) -> ListedPayment {
    let payment_hash = PaymentHash([index as u8; 32]);
    ListedPayment { index, payment_hash, state, created: UnixMs(created) }
}

fn paid(indexes: impl IntoIterator<Item = u64>) -> Vec<ListedPayment> {
    // Payment `n` was created at second `n`.
    indexes.into_iter().map(|n| listed(n, n as i64 * 1_000, ListedState::Succeeded)).collect()
}

/// Answers as lnd does, until the reading is done; returns the indexes to be looked at.
fn read_all(reading: &mut Reading, books: &[ListedPayment]) -> (Vec<u64>, u64) {
    let mut seen = Vec::new();
    for number in 1..1_000 {
        let call = reading.ask(number);
        let max = call.max as usize;
        let page: Vec<ListedPayment> = if call.reversed {
            let before = |listed: &&ListedPayment| {
                call.index_offset == 0 || listed.index < call.index_offset
            };
            let all: Vec<_> = books.iter().filter(before).copied().collect();
            all[all.len().saturating_sub(max)..].to_vec()
        } else {
            let behind = books.iter().filter(|listed| listed.index > call.index_offset);
            behind.take(max).copied().collect()
        };
        let page = reading.page(call, &page).expect("the answer is waited for");
        let (alive, more) = page.expect("it is where it was asked for");
        seen.extend(alive.iter().map(|listed| listed.index));
        if !more {
            return (seen, number);
        }
    }
    unreachable!("1000 pages");
}

#[test]
fn a_million_old_payments_are_not_read() {
    let books = paid(1..=100_000);
    let mut reading = Reading::back_to(UnixMs(99_000_000));
    let (seen, pages) = read_all(&mut reading, &books);
    // A page more than holds them: only one on which all are older is the end.
    assert_eq!((seen.len(), pages), (1_001, 4));
    assert!(seen.iter().all(|index| *index >= 99_000));
}

#[test]
fn reading_goes_on_behind_the_newest() {
    let mut books = paid(1..=700);
    let mut reading = Reading::back_to(UnixMs(0));
    let (seen, pages) = read_all(&mut reading, &books);
    assert_eq!((seen.len(), pages), (700, 2));
    assert_eq!(read_all(&mut reading, &books), (vec![], 1));
    books.extend(paid(701..=1_300));
    let (seen, pages) = read_all(&mut reading, &books);
    assert_eq!((seen, pages), ((701..=1_300).collect(), 2));
}

#[test]
fn a_node_without_payments_is_read_from_its_first_one_on() {
    let mut reading = Reading::back_to(UnixMs(5_000));
    assert_eq!(read_all(&mut reading, &[]), (vec![], 1));
    let (seen, _) = read_all(&mut reading, &paid(1..=2));
    assert_eq!(seen, [1, 2]);
}

/// Its clock was an hour ahead up to payment 2,100, and was set right.
#[test]
fn a_clock_that_was_set_back_hides_nothing() {
    let mut books = paid(1..=2_600);
    for listed in &mut books[..2_100] {
        listed.created = listed.created.plus_ms(LATER);
    }
    // The newest page begins before the time that is looked for; what comes before it does not.
    let (seen, _) = read_all(&mut Reading::back_to(UnixMs(2_400_000)), &books);
    assert_eq!(seen.len(), 201 + 2_100);
}

#[test]
fn a_page_that_is_not_where_it_was_asked_for_ends_the_reading() {
    let mut reading = Reading::back_to(UnixMs(0));
    let first = reading.ask(1);
    let page = paid(501..=1_000);
    assert!(reading.page(first, &page).expect("it is waited for").is_ok());
    let back = reading.ask(2);
    // The node lists its newest payments whatever it is asked for.
    let misplaced = reading.page(back, &page).expect("it is waited for");
    assert_eq!(misplaced, Err(Misplaced { call: back, index: 501 }));
    assert!(!reading.waits());
    let mut forward = Reading::back_to(UnixMs(5_000_000));
    let first = forward.ask(1);
    assert!(forward.page(first, &page).expect("it is waited for").is_ok());
    let on = forward.ask(2);
    assert!(!on.reversed);
    let misplaced = forward.page(on, &page).expect("it is waited for").expect_err("again");
    assert_eq!(misplaced.to_string(), "asked for payments after index 1000, it lists 501");
}

#[test]
fn what_failed_is_not_looked_at_and_what_is_on_its_way_is() {
    let states = [ListedState::Failed, ListedState::InFlight, ListedState::Succeeded];
    let books: Vec<_> = (1..).zip(states).map(|(n, state)| listed(n, 9_000, state)).collect();
    let (seen, _) = read_all(&mut Reading::back_to(UnixMs(9_000)), &books);
    assert_eq!(seen, [2, 3]);
}

#[test]
fn an_answer_that_is_not_waited_for_changes_nothing() {
    let mut reading = Reading::back_to(UnixMs(0));
    let call = reading.ask(1);
    assert!(reading.waits());
    assert_eq!(reading.page(ListCall { number: 2, ..call }, &paid(1..=3)), None);
    assert!(reading.lost(1) && !reading.waits() && !reading.lost(1));
    assert_eq!(reading.page(call, &paid(1..=3)), None);
}

/// The payment of row 1, after these changes at `NOW` and each an hour later.
fn payment(changes: &[PaymentChange]) -> Payment {
    let mut payment = batch(options(), vec![order(1)]).payments[0].clone();
    for (lsn, change) in (2..).zip(changes) {
        payment.apply(change, NOW.plus_ms((lsn as i64 - 2) * LATER), lsn);
    }
    payment
}

fn started() -> PaymentChange {
    PaymentChange::AttemptStarted(attempt(1))
}

fn failed(next: Next) -> PaymentChange {
    PaymentChange::AttemptFailed { attempt: 1, reason: FailureReason::NoRoute, next }
}

fn settled() -> PaymentChange {
    let preimage = preimage(1);
    PaymentChange::AttemptSettled { attempt: 1, preimage, fee_paid: crate::amount::Msat::ZERO }
}

#[test]
fn an_attempt_here_makes_its_payment_ours() {
    for changes in [vec![started()], vec![started(), settled()]] {
        let ours = [payment(&changes)];
        assert_eq!(origin(|node| node == "a", NOW.plus_ms(1), &ours, NOW), Origin::Ours);
        assert_eq!(
            origin(|node| node == "b", NOW.plus_ms(1), &ours, NOW),
            Origin::OtherJournal(ours[0].id),
            "an attempt elsewhere is none here"
        );
    }
}

/// Renamed, or one node under two names.
#[test]
fn an_attempt_under_another_name_of_the_node_makes_its_payment_ours() {
    let ours = [payment(&[started(), settled()])];
    let names = |node: &str| ["a", "b"].contains(&node);
    assert_eq!(origin(names, NOW.plus_ms(1), &ours, NOW.plus_ms(9 * LATER)), Origin::Ours);
}

/// A late proof marks the last attempt, whichever it was of.
#[test]
fn a_payment_that_is_unresolved_or_over_is_no_sign_of_another_journal_where_it_was_tried() {
    let again = |node: &str| {
        let next = AttemptStarted { node: node.into(), ..(*attempt(2)).clone() };
        PaymentChange::AttemptStarted(Arc::new(next))
    };
    let first = [started(), failed(Next::Retry { not_before: NOW }), again("b")];
    let contradiction = Contradiction::SucceededAfterFinal;
    let late = PaymentChange::Contradicted { attempt: 1, contradiction };
    let proof = PaymentChange::AttemptSettled {
        attempt: 2,
        preimage: preimage(1),
        fee_paid: crate::amount::Msat::ZERO,
    };
    let far = NOW.plus_ms(9 * LATER);
    for (last, of_a) in [
        (late, Origin::Ours),
        (proof, Origin::AfterAll(payment(&[]).id)),
        (PaymentChange::AttemptStuck { attempt: 2 }, Origin::AfterAll(payment(&[]).id)),
    ] {
        let ours = [payment(&[&first[..], &[last]].concat())];
        assert_eq!(origin(|node| node == "a", NOW.plus_ms(1), &ours, far), of_a);
        assert_eq!(origin(|node| node == "b", NOW.plus_ms(1), &ours, far), Origin::Ours);
    }
    // In flight at b, it can have been paid with a third attempt by a newer journal.
    let ours = [payment(&first)];
    let other = Origin::OtherJournal(ours[0].id);
    assert_eq!(origin(|node| node == "a", NOW.plus_ms(1), &ours, far), other);
}

#[test]
fn what_a_person_was_asked_about_already_ends_no_start() {
    let contradiction = Contradiction::PaidBefore;
    let known = PaymentChange::Contradicted { attempt: 0, contradiction };
    let verdict = Verdict::Paid(preimage(1));
    let (by, reason) = (Sealed::plain("ada"), Sealed::plain(""));
    let resolved = PaymentChange::Resolved(Arc::new(Resolution { verdict, by, reason }));
    let earlier = [started(), failed(Next::Retry { not_before: NOW })];
    let far = NOW.plus_ms(9 * LATER);
    for before in [&[][..], &earlier[..]] {
        for after in [&[][..], std::slice::from_ref(&resolved)] {
            let ours = [payment(&[before, std::slice::from_ref(&known), after].concat())];
            assert_eq!(origin(|node| node == "c", far, &ours, far), Origin::Ours, "{ours:?}");
        }
    }
}

#[test]
fn a_reading_is_level_after_a_short_page_that_was_asked_for_since() {
    let mut reading = Reading::back_to(UnixMs(0));
    let back = reading.ask(1);
    reading.page(back, &paid(1..=2)).expect("it is waited for").expect("well placed");
    let early = reading.ask(2);
    reading.level_from(2);
    reading.page(early, &[]).expect("it is waited for").expect("well placed");
    assert!(!reading.is_level(), "asked for before");
    let long = reading.ask(3);
    let (_, more) = reading.page(long, &paid(3..=502)).expect("waited for").expect("well placed");
    assert!(more);
    assert!(!reading.is_level(), "there is more");
    let last = reading.ask(4);
    reading.page(last, &paid(503..=504)).expect("it is waited for").expect("well placed");
    assert!(reading.is_level());
}

#[test]
fn an_order_without_an_attempt_was_paid_by_another_journal() {
    let ours = [payment(&[])];
    let other = Origin::OtherJournal(ours[0].id);
    assert_eq!(origin(|node| node == "a", NOW.plus_ms(LATER), &ours, NOW), other);
    assert_eq!(
        origin(|node| node == "a", NOW.plus_ms(-LATER), &ours, NOW),
        Origin::PaidBefore(ours[0].id)
    );
    assert_eq!(origin(|node| node == "a", NOW, &[], NOW), Origin::Elsewhere);
}

#[test]
fn a_hash_that_is_free_again_is_anybodys() {
    let next = Next::Failed(Failure::NoRoute);
    let far = NOW.plus_ms(9 * LATER);
    for changes in [vec![started(), failed(next)], vec![PaymentChange::Cancelled]] {
        let ours = [payment(&changes)];
        assert_eq!(origin(|node| node == "b", far, &ours, far), Origin::Elsewhere);
    }
    // Where it was tried, whoever was told that it failed may have been told wrong (rule E14).
    let ours = [payment(&[started(), failed(next)])];
    assert_eq!(origin(|node| node == "a", far, &ours, far), Origin::AfterAll(ours[0].id));
    let again = [ours[0].clone(), payment(&[])];
    let other = Origin::OtherJournal(again[1].id);
    assert_eq!(origin(|node| node == "a", far, &again, far), other, "the open one counts");
}

#[test]
fn a_clock_that_was_set_since_the_start_makes_nobody_else_of_us() {
    let ours = [payment(&[started(), failed(Next::Retry { not_before: NOW })])];
    let (ended, hour_ms) = (NOW.plus_ms(LATER), 3_600_000);
    for (at, created, ahead_ms) in [
        // It was set back before the attempt ended, or forward after that.
        (ended.plus_ms(hour_ms), NOW.plus_ms(1), -hour_ms),
        (NOW, ended.plus_ms(hour_ms), hour_ms),
    ] {
        let mut began = Started::from(at);
        assert_ne!(origin(|node| node == "a", created, &ours, began), Origin::Ours);
        began.clock_is_ahead(ahead_ms);
        assert_eq!(origin(|node| node == "a", created, &ours, began), Origin::Ours, "{ahead_ms}");
    }
}

/// The copy was made between two attempts: what the newer journal paid with the second is not the
/// first.
#[test]
fn an_attempt_that_was_over_before_the_start_pays_nothing_any_more() {
    let next = Next::Retry { not_before: NOW };
    let never = PaymentChange::AttemptNeverSent { attempt: 1, cause: NeverSent::Withdrawn, next };
    for over in [failed(next), never] {
        let ours = [payment(&[started(), over])];
        let (ended, other) = (NOW.plus_ms(LATER), Origin::OtherJournal(ours[0].id));
        assert_eq!(origin(|node| node == "a", NOW.plus_ms(1), &ours, ended.plus_ms(1)), other);
        // Over since: the node was asked before.
        assert_eq!(origin(|node| node == "a", NOW.plus_ms(1), &ours, NOW), Origin::Ours);
        assert_eq!(origin(|node| node == "a", ended.plus_ms(60_000), &ours, NOW), other);
    }
}

#[test]
fn a_start_that_is_refused_does_not_move_the_end_of_the_comparison() {
    use crate::{book::Book, event::Event};
    let node: crate::id::NodeName = "a".into();
    let start = |epoch: u32, ms: i64| Event::EngineStarted {
        epoch,
        time: NOW.plus_ms(ms),
        version: "1".into(),
    };
    let seen = |ms: i64, live| Event::NodeCompared {
        node: Arc::clone(&node),
        until: NOW.plus_ms(ms),
        live,
    };
    let until = |events: &[Event]| {
        let mut book = Book::default();
        for (lsn, event) in (1..).zip(events) {
            book.apply(event, lsn);
        }
        (book.born, book.compared.get(&node).map(|seen| (seen.until.since(NOW), seen.live)))
    };
    let paid_at = |ms: i64| {
        Event::BatchAccepted(Arc::new({
            let mut accepted = crate::testing::accepted(options(), 0);
            accepted.time = NOW.plus_ms(ms);
            accepted
        }))
    };
    let events = [start(1, 0), seen(5, true), paid_at(50), start(2, 1_000), start(3, 2_000)];
    assert_eq!(until(&events[..2]), (NOW, Some((5, true))));
    // The first engine read on: its last event counts; the others compared nothing.
    assert_eq!(until(&events), (NOW, Some((50, false))));
    let lost = [start(1, 0), seen(5, false), paid_at(50), start(2, 1_000)];
    assert_eq!(until(&lost), (NOW, Some((5, false))));
}
