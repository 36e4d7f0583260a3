//! A slice of the disk's proofs; `fulgurite-prove` runs them whole.

use std::path::Path;

use fulgurite_prove::{bit_flips, disk_errors, power_loss, verdicts};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fulgurite-prove"))
}

#[test]
fn no_crash_of_the_machine_loses_what_was_acknowledged() {
    for (states, keep) in [(200, false), (40, true)] {
        let args = power_loss::Args { states, seed: 1, keep, only: None };
        let page = power_loss::run_with(program(), &args).unwrap();
        assert!(page.is_clean(), "{}", page.text());
        let opened = page.count("outcomes", power_loss::WHOLE);
        let text = page.text();
        assert!(opened > u64::from(states) * 3 / 4, "what opens nothing shows nothing:\n{text}");
        let behind = page.count("of those that opened whole", power_loss::BEHIND);
        assert_eq!(behind > u64::from(states) / 4, keep, "{text}");
    }
}

#[test]
fn no_flipped_bit_is_silent() {
    for (flips, keep) in [(280, false), (42, true)] {
        let args = bit_flips::Args { flips, seed: 1, keep };
        let page = bit_flips::run_with(program(), &args).unwrap();
        assert!(page.is_clean(), "{}", page.text());
        for seen in [verdicts::REFUSED, bit_flips::HARMLESS] {
            assert!(page.count("flips", seen) > 0, "{}", page.text());
        }
    }
}

#[test]
fn a_disk_that_fails_ends_the_engine_and_harms_nothing() {
    let page = disk_errors::run(&disk_errors::Args::default()).unwrap();
    assert!(page.is_clean(), "{}", page.text());
    println!("{}", page.text());
}
