//! The engine's rules, a simulated disk, two simulated nodes and a client, all stepped by one
//! seed in one thread. `SEED=17 cargo test a_seeded_world` repeats one seed, `SEEDS=100000` runs
//! more of them.

mod simulation;

use simulation::{
    random::{Coverage, seeds, with_seed},
    world::World,
};

/// What must have happened at least once over all seeds.
const MUST_HAPPEN: &[&str] = &[
    "a batch actor died",
    "a connection was cut",
    "a crash lost events",
    "a duplicate was refused",
    "a failed hash ran again",
    "a fence rose",
    "a key was repeated",
    "a late request started a payment",
    "a node actor died",
    "a node restarted",
    "a send was repeated",
    "a stream was cut after its first message",
    "a stream was cut before its first message",
    "an attempt was resumed",
    "an answer was lost",
    "an HTLC was held for long",
    "an upload was dropped",
    "an upload was lost with its engine",
    "asked to cancel",
    "asked to pause",
    "asked to resume",
    "attempt contradicted",
    "attempt failed",
    "attempt never sent",
    "attempt never sent: invoice expired",
    "attempt settled",
    "attempt withdrawn",
    "cancelled",
    "channels were busy",
    "events survived a crash unsynced",
    "failed",
    "held message dropped at the deadline",
    "permission denied",
    "request refused: already exists",
    "request refused: invoice expired",
    "request refused: macaroon expired",
    "request vanished",
    "send not handed over",
    "succeeded",
    "the deadline ended a silent stream",
    "the deadline ended a stream that had shown its payment",
    "the engine crashed",
    "unresolved",
];

#[test]
fn a_seeded_world_never_pays_twice_and_everything_ends() {
    let name = "a_seeded_world_never_pays_twice_and_everything_ends";
    let mut total = Coverage::default();
    let mut count = 0;
    for seed in seeds(500) {
        count += 1;
        for (what, times) in with_seed(seed, name, World::run).0 {
            *total.0.entry(what).or_default() += times;
        }
    }
    println!("{count} seeds: {:?}", total.0);
    for what in MUST_HAPPEN {
        assert!(count < 500 || total.0.contains_key(what), "never happened: {what}");
    }
}

/// The fence was wanted while the node, its clock an hour ahead, was not connected.
#[test]
fn seed_2130_a_fence_that_is_wanted_before_the_clock_is_known_rises_in_time() {
    World::run(2_130);
}
