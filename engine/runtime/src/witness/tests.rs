use fulgurite_core::{batch::Batch, breaker, node::Limits, window};

use super::*;
use crate::{slot::NodeSlot, watcher::tests::accepted};

/// Two nodes at the start, and one batch that is open.
fn witness() -> (Witness, Receiver<Check>, BatchId) {
    let id = BatchId::from_uuid(1 << 80);
    let batch = Batch::new(Arc::new(accepted(id)), &[], 1);
    let book = Book { batches: [(id, batch)].into_iter().collect(), ..Book::default() };
    let (witness, checks) = Witness::new(WitnessPolicy::default(), 2, &book);
    (witness, checks, id)
}

#[test]
fn what_was_ordered_before_the_start_waits_for_every_node_of_then() {
    let (witness, _checks, old) = witness();
    witness.could_not(0);
    witness.compared(1);
    assert!(witness.holds(old) && witness.waits_for(0) && !witness.waits_for(1));
    assert!(!witness.holds(BatchId::from_uuid(7 << 80)), "ordered since");
    witness.compared(0);
    assert!(!witness.holds(old));
}

#[test]
fn a_node_that_joins_and_cannot_be_reached_holds_nothing_but_itself() {
    let (witness, _checks, old) = witness();
    witness.compared(0);
    witness.compared(1);
    witness.joins(2);
    assert!(witness.holds(old), "it may be compared at once");
    witness.could_not(2);
    assert!(!witness.holds(old) && witness.waits_for(2));
    witness.compared(2);
    assert!(!witness.waits_for(2));
}

#[test]
fn one_look_at_a_time_is_queued_for_each_node() {
    let (witness, checks, _) = witness();
    let node = |index, name: &str| {
        let limits = Limits {
            window: window::Limits { start: 1, min: 1, max: 1 },
            breaker: breaker::Limits { faults: 1, open_ms: 1, probes: 1 },
            payments_per_second_max: 0,
        };
        let named = (name.into(), Default::default());
        Arc::new(NodeSlot::new(index, named, limits, String::new(), UnixMs(0)))
    };
    let (a, b) = (node(0, "a"), node(1, "b"));
    let hand_over = |node: &Arc<NodeSlot>, number| {
        let listed = vec![(PaymentHash([7; 32]), UnixMs(1))];
        witness.check(Check { node: Arc::clone(node), number, listed })
    };
    assert!(hand_over(&a, 1) && hand_over(&b, 2));
    assert!(!hand_over(&a, 3) && witness.looks_up(0), "it came back and was read anew");
    assert_eq!(checks.try_iter().map(|check| check.number).collect::<Vec<_>>(), [1, 2]);
    witness.has_looked_up(0);
    assert!(hand_over(&a, 4) && checks.len() == 1);
}
