//! A fixed slice of seeds and the twins; `fulgurite-prove simulation` runs as many as are wanted.

use std::{collections::BTreeSet, fs, path::Path};

use fulgurite_simulation::{
    coverage::Coverage,
    fault::{Fault, Strike},
    random::seeds,
    run::{Finder, Scenario},
    shrink::shrink,
    twin::Twin,
};

fn run(seed: u64) -> Coverage {
    Scenario::new(seed).run().unwrap_or_else(|violation| {
        panic!("fulgurite-prove simulation --seed {seed}: {}", violation.message)
    })
}

#[test]
fn a_seeded_world_never_pays_twice_and_everything_ends() {
    let mut total = Coverage::default();
    let mut count = 0;
    for seed in seeds(3_000) {
        count += 1;
        total.add(&run(seed));
    }
    for ((kind, what), times) in total.table() {
        println!("{:<8}{times:>9}  {what}", kind.name());
    }
    let missing = total.missing();
    assert!(count < 3_000 || missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    for seed in [3, 268, 2_130] {
        assert_eq!(run(seed).table(), run(seed).table(), "seed {seed}");
    }
}

#[test]
fn a_seed_that_broke_a_rule_breaks_none_now() {
    for seed in [1_152, 3_787, 10_039, 11_350, 24_620, 38_767, 70_547] {
        run(seed);
    }
}

#[test]
fn each_engine_with_a_deliberate_bug_is_found_within_2000_seeds() {
    let searches: Vec<_> = Twin::ALL.iter().map(|twin| (twin.name(), twin.find(2_000))).collect();
    for (twin, search) in &searches {
        let seed = search.found.as_ref().map(|(seed, _)| seed);
        println!("{twin:<20} {seed:?}, panicked before {} times", search.panics.len());
        for (seed, panic) in search.panics.iter().take(3) {
            println!("    seed {seed}: {}", panic.message);
        }
    }
    let missed: Vec<_> = searches.iter().filter(|(_, search)| search.found.is_none()).collect();
    assert!(missed.is_empty(), "no check found: {missed:?}");
}

#[test]
fn a_failing_schedule_is_shrunk_to_one_that_fails_too() {
    let search = Twin::PeerAway.find(2_000);
    let (seed, violation) = search.found.expect("a twin that is found soon");
    let scenario = Scenario { twin: Some(Twin::PeerAway), ..Scenario::new(seed) };
    let all = violation.strikes.len();
    let (small, violation) = shrink(&scenario, violation, 1_000);
    assert!(violation.strikes.len() < all, "{} of {all}", violation.strikes.len());
    let again = small.run().expect_err("it fails again");
    assert_eq!(again.strikes, violation.strikes, "the same schedule");
    assert_eq!(again.finder, Finder::Check);
    assert_eq!(again.message, violation.message);
    let numbers: BTreeSet<u32> = again.strikes.iter().map(|strike| strike.number).collect();
    assert_eq!(small.only, Some(numbers), "the command that is printed names all of it");
    let away = |strike: &Strike| strike.fault == Fault::ChannelInactive;
    assert!(again.strikes.iter().any(away), "{again:?}");
}

/// The deliberate bugs are in this crate: nothing that is shipped may depend on it.
#[test]
fn no_shipped_program_contains_a_twin() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = fs::read_to_string(path).expect("the workspace's lock file");
    let named = |name: &str| {
        let start = lock.find(&format!("name = \"{name}\"\n")).expect("a package of the lock");
        let rest = &lock[start..];
        rest[..rest.find("\n\n").unwrap_or(rest.len())].to_owned()
    };
    assert!(named("fulgurite-prove").contains("\"fulgurite-simulation\""), "the test can see it");
    let mut open = vec!["fulgurite".to_owned(), "fulgurite-loadtest".to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        assert_ne!(name, "fulgurite-simulation", "{seen:?} depend on it");
        if seen.insert(name.clone()) {
            let package = named(&name);
            let ours = package.lines().map(|line| line.trim().trim_matches([',', '"']));
            open.extend(ours.filter(|line| line.starts_with("fulgurite")).map(str::to_owned));
        }
    }
    assert!(seen.contains("fulgurite-core"), "the lock file is read");
}
