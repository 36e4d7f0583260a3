//! The protocol is explored whole; each rule that is left out shows why it is there.

use fulgurite_model::{Limits, Protocol, Rule};
use stateright::{Checker, HasDiscoveries, Model};

const LIMITS: Limits =
    Limits { attempts: 2, resends: 1, engine_crashes: 1, node_crashes: 1, restores: 0, cancels: 0 };

/// Explores everything; no property may be broken, and what is named happens.
fn explore(name: &str, limits: Limits, happens: &[&'static str]) {
    let checker = Protocol { without: None, limits }.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} states, {} of them different, {} steps deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    assert!(checker.is_done(), "everything was explored");
    let found = checker.discoveries();
    for (property, path) in &found {
        let example = checker.discovery_classification(property).to_string() == "example";
        assert!(example, "{property}: {:?}", path.clone().into_actions());
    }
    for property in happens {
        assert!(found.contains_key(property), "never: {property}");
    }
}

/// Without the rule a property is broken; prints the shortest way there.
fn breaks(rule: Rule, limits: Limits, property: &'static str) {
    let protocol = Protocol { without: Some(rule), limits };
    let until = HasDiscoveries::AnyOf([property].into());
    let checker = protocol.checker().threads(2).finish_when(until).spawn_bfs().join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("without {rule:?}, \"{property}\" still holds"));
    println!("without {rule:?}, not \"{property}\": {:?}", path.into_actions());
}

#[test]
fn the_protocol_holds_whatever_crashes() {
    let happens = [
        "an order is paid",
        "the second order is paid after the first failed",
        "a duplicate is refused",
    ];
    explore("two attempts", Limits { engine_crashes: 0, node_crashes: 0, ..LIMITS }, &happens);
    explore("the engine dies", Limits { attempts: 1, node_crashes: 0, ..LIMITS }, &happens);
    explore("a node dies", Limits { attempts: 1, engine_crashes: 0, ..LIMITS }, &happens);
}

#[test]
fn the_protocol_holds_when_orders_are_cancelled() {
    let limits = Limits { attempts: 1, engine_crashes: 0, node_crashes: 0, cancels: 1, ..LIMITS };
    explore("cancels", limits, &["an order is cancelled", "an order is paid"]);
}

#[test]
fn a_restored_journal_is_compared_before_it_pays() {
    let limits = Limits { attempts: 1, resends: 0, engine_crashes: 0, node_crashes: 0, ..LIMITS };
    let limits = Limits { restores: 1, ..limits };
    explore("restores", limits, &["an order is paid"]);
    breaks(Rule::Witness, limits, "the hash is paid at most once");
}

#[test]
fn without_the_fence_the_hash_is_paid_twice() {
    breaks(Rule::Fence, LIMITS, "the hash is paid at most once");
}

#[test]
fn without_durable_attempts_the_hash_is_paid_twice() {
    breaks(Rule::Durable, LIMITS, "the hash is paid at most once");
}

#[test]
fn without_the_claim_the_hash_is_paid_twice() {
    breaks(Rule::Claim, LIMITS, "the hash is paid at most once");
}
