//! What is compared, what is refused, and what is left out and named.

use std::fs;

use anyhow::Context;

use super::*;
use crate::{report::Machine, run::scenario::Scenario};

#[test]
fn a_verdict_knows_what_is_better() {
    let ratio = |middle: f64| Ratio { middle, low: middle - 0.05, high: middle + 0.05, pairs: 9 };
    assert_eq!(verdict(&ratio(1.2), true), "better");
    assert_eq!(verdict(&ratio(1.2), false), "worse");
    assert_eq!(verdict(&ratio(0.8), false), "better");
    assert_eq!(verdict(&ratio(1.02), true), "no difference");
    assert_eq!(verdict(&Ratio { pairs: 3, ..ratio(2.0) }, true), "too few pairs to say");
}

/// Of the goals P1 and P2, two rounds each; P2's first is invalid in one of them.
fn runs(p2_valid: bool) -> Vec<RunResult> {
    let run = |goal: &str, target: &str, round, valid| RunResult {
        goal: Some(goal.to_owned()),
        target: target.to_owned(),
        round,
        valid,
        seconds: 20.0,
        offered_per_s: 110.0,
        achieved_per_s: 100.0,
        ..RunResult::default()
    };
    vec![
        run("P1", "batches", 1, true),
        run("P2", "http", 1, p2_valid),
        run("P1", "batches", 2, true),
        run("P2", "http", 2, true),
    ]
}

fn args() -> CompareArgs {
    CompareArgs {
        a: None,
        b: None,
        last: None,
        target: None,
        with_invalid: false,
        force: false,
        json: false,
    }
}

fn side(name: &str, scenario: &str, runs: Vec<RunResult>) -> Result<Side> {
    let scenario = Scenario::load(scenario)?;
    let report = Report::new(Machine::now(), None, scenario, runs);
    Ok(Side { path: name.into(), report, goals: None })
}

#[test]
fn runs_are_paired_by_goal_and_round_and_what_has_no_pair_is_named() -> Result<()> {
    let (a, mut b) = (runs(true), runs(false));
    // Another order, and a run more.
    b.reverse();
    b.push(RunResult { round: 3, ..b[0].clone() });
    let compared = compare(side("a", "steady", a)?, side("b", "steady", b)?, &args())?;
    let groups = &compared.groups;
    let goals: Vec<_> = groups.iter().map(|group| group.goal.as_deref()).collect();
    assert_eq!(goals, [Some("P1"), Some("P2")]);
    assert_eq!((groups[0].pairs_of, groups[0].rows[0].ratio.pairs), ("runs", 2));
    assert_eq!(groups[1].left_out[..2], ["round 1 is invalid in B", "round 3 is only in B"]);
    let text = text(&compared);
    assert!(text.contains("P2, http\n"), "{text}");
    assert!(text.contains("left out: round 1 is invalid in B"), "{text}");
    Ok(())
}

#[test]
fn a_value_that_one_side_lacks_is_named_and_not_dropped() -> Result<()> {
    let (a, mut b) = (runs(true), runs(true));
    b[0].achieved_per_s = 0.0;
    let compared = compare(side("a", "steady", a)?, side("b", "steady", b)?, &args())?;
    let left_out = &compared.groups[0].left_out;
    assert!(left_out.contains(&"achieved rate: no value in B for 1 of 2 pairs".to_owned()));
    assert!(left_out.contains(&"outcome P99: no value in both for 2 of 2 pairs".to_owned()));
    Ok(())
}

#[test]
fn without_any_pair_that_counts_nothing_is_compared() -> Result<()> {
    let (a, b) = (runs(true)[1..2].to_vec(), runs(false)[1..2].to_vec());
    let error = compare(side("a", "steady", a)?, side("b", "steady", b)?, &args()).unwrap_err();
    assert!(error.to_string().contains("P2, http: round 1 is invalid in B"), "{error}");
    Ok(())
}

#[test]
fn two_loads_are_compared_by_force_alone() -> Result<()> {
    let sides = || {
        let mut b = runs(true);
        b.iter_mut().for_each(|run| run.offered_per_s *= 2.0);
        Ok::<_, anyhow::Error>((side("a", "steady", runs(true))?, side("b", "burst", b)?))
    };
    let (a, b) = sides()?;
    let error = compare(a, b, &args()).unwrap_err().to_string();
    for part in ["name: \"steady\" in A, \"burst\" in B", "load.stages", "offered: 110.0/s in A"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(error.contains("--force"), "{error}");
    let (a, b) = sides()?;
    let compared = compare(a, b, &CompareArgs { force: true, ..args() })?;
    assert!(text(&compared).contains("NOT THE SAME: name"), "{}", text(&compared));
    Ok(())
}

#[test]
fn a_damaged_file_is_named_with_its_fault() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("report.json");
    let whole = Report::new(Machine::now(), None, Scenario::load("steady")?, runs(true));
    let whole = serde_json::to_string(&whole)?;
    let damaged = [
        (&whole[..whole.len() / 2], "line 1"),
        ("{}", "missing field"),
        (&whole.replace("\"http\"", "\"\""), "run 2 has no target"),
    ];
    for (text, fault) in damaged {
        fs::write(&path, text)?;
        let error = format!("{:#}", Side::read(path.clone(), &args()).err().context("damaged")?);
        assert!(error.contains("report.json") && error.contains(fault), "{error}");
    }
    fs::write(&path, whole)?;
    assert!(Side::read(path, &args()).is_ok());
    Ok(())
}
