//! A slice of the disk's proofs; `fulgurite-prove` runs them whole.

use std::path::Path;

use fulgurite_prove::{bit_flips, disk_errors, power_loss, verdicts};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fulgurite-prove"))
}

#[test]
fn no_crash_of_the_machine_loses_what_was_acknowledged() {
    let args = power_loss::Args { states: 200, seed: 1, only: None };
    let page = power_loss::run_with(program(), &args).unwrap();
    assert!(page.is_clean(), "{}", page.text());
    let opened = page.count("outcomes", power_loss::WHOLE);
    assert!(opened > 150, "a proof that opens nothing shows nothing:\n{}", page.text());
}

#[test]
fn no_flipped_bit_is_silent() {
    let args = bit_flips::Args { flips: 280, seed: 1 };
    let page = bit_flips::run_with(program(), &args).unwrap();
    assert!(page.is_clean(), "{}", page.text());
    for seen in [verdicts::REFUSED, bit_flips::HARMLESS] {
        assert!(page.count("flips", seen) > 0, "{}", page.text());
    }
}

#[test]
fn a_disk_that_fails_ends_the_engine_and_harms_nothing() {
    let page = disk_errors::run(&disk_errors::Args::default()).unwrap();
    assert!(page.is_clean(), "{}", page.text());
    println!("{}", page.text());
}
