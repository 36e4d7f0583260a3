//! Whether two reports are of the same load: the ratio of two different ones says nothing.

use serde::Serialize;
use serde_json::Value;

use crate::{result::RunResult, run::scenario::Scenario};

/// What of a scenario is not its load, or is compared run by run: words, limits, the seed of the
/// arrivals, and what several targets of one report differ in.
const BESIDES: [&str; 6] =
    ["description", "slo", "load.seed", "load.saturation", "load.target", "load.in_flight_max"];
/// Two runs of one load and one seed were offered the same, but for rounding.
const OFFERED_WITHIN: f64 = 0.01;
/// With another seed they differ by chance, few large batches the most.
const OFFERED_WITHIN_BY_CHANCE: f64 = 0.25;

/// What differs between the loads of two scenarios, a line each.
pub(super) fn scenarios(a: &Scenario, b: &Scenario) -> Vec<String> {
    let (a, b) = (leaves(a), leaves(b));
    let mut keys: Vec<&String> = a.iter().chain(&b).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let of = |all: &[(String, Value)], key: &String| {
        let found = all.iter().find(|(known, _)| known == key);
        found.map_or("unset".to_owned(), |(_, value)| value.to_string())
    };
    let differ = keys.into_iter().map(|key| (key, of(&a, key), of(&b, key)));
    differ
        .filter(|(_, a, b)| a != b)
        .map(|(key, a, b)| format!("{key}: {a} in A, {b} in B"))
        .collect()
}

/// What differs between two runs that would be a pair.
pub(super) fn runs(a: &RunResult, b: &RunResult, same_seed: bool) -> Vec<String> {
    // Files of earlier versions do not say it.
    let loads = a.scenario.as_ref().zip(b.scenario.as_ref());
    let mut differ = loads.map_or_else(Vec::new, |(a, b)| scenarios(a, b));
    if (a.seconds - b.seconds).abs() > 0.001 && !a.interrupted && !b.interrupted {
        differ.push(format!("seconds: {} in A, {} in B", a.seconds, b.seconds));
    }
    let within = if same_seed { OFFERED_WITHIN } else { OFFERED_WITHIN_BY_CHANCE };
    let (more, less) = (a.offered_per_s.max(b.offered_per_s), a.offered_per_s.min(b.offered_per_s));
    if more - less > within * more {
        differ
            .push(format!("offered: {:.1}/s in A, {:.1}/s in B", a.offered_per_s, b.offered_per_s));
    }
    differ
}

/// The values of a scenario by their dotted keys, without [`BESIDES`].
fn leaves(scenario: &impl Serialize) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    // A scenario was read or can be written: it is JSON.
    walk(String::new(), serde_json::to_value(scenario).unwrap_or_default(), &mut leaves);
    leaves
}

fn walk(key: String, value: Value, leaves: &mut Vec<(String, Value)>) {
    if BESIDES.contains(&key.as_str()) {
        return;
    }
    match value {
        Value::Object(inner) => {
            for (name, value) in inner {
                let below = if key.is_empty() { name } else { format!("{key}.{name}") };
                walk(below, value, leaves);
            }
        }
        Value::Null => {}
        value => leaves.push((key, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_differ_in_their_load_and_not_in_their_words() {
        let steady = Scenario::load("steady").unwrap();
        let mut other = steady.clone();
        (other.description, other.load.seed) = ("another".into(), 9);
        other.slo.lost_share_max = Some(0.5);
        assert!(scenarios(&steady, &other).is_empty());
        other.load.stages[0].rate = 2_000.0;
        other.engine.verify_signatures = "node".into();
        other.engine.config.insert("limits".into(), toml::Table::new().into());
        other.fleet.knobs.latency_ms += 5.0;
        let differ = scenarios(&steady, &other);
        assert_eq!(differ.len(), 3, "{differ:?}");
        assert_eq!(differ[0], "engine.verify_signatures: \"door\" in A, \"node\" in B");
        assert!(differ[1].starts_with("fleet.knobs.latency_ms: "), "{differ:?}");
        assert!(differ[2].contains("2000.0"), "{differ:?}");
    }

    #[test]
    fn runs_of_a_bench_differ_in_the_load_that_each_has_of_its_own() {
        let run = |threads| {
            let mut scenario = Scenario::load("overload").unwrap();
            scenario.load.threads = threads;
            RunResult { scenario: Some(scenario), ..RunResult::default() }
        };
        assert!(runs(&run(2), &run(2), true).is_empty());
        assert_eq!(runs(&run(2), &run(1), true), ["load.threads: 2 in A, 1 in B"]);
        assert!(runs(&run(2), &RunResult::default(), true).is_empty());
    }

    #[test]
    fn the_chance_of_arrivals_is_no_difference_and_another_rate_is() {
        let run = |offered_per_s: f64, seconds: f64| RunResult {
            seconds,
            offered_per_s,
            ..RunResult::default()
        };
        assert!(runs(&run(1_000.0, 20.0), &run(1_001.0, 20.0), true).is_empty());
        assert_eq!(runs(&run(1_000.0, 20.0), &run(1_100.0, 20.0), true).len(), 1);
        assert!(runs(&run(1_000.0, 20.0), &run(1_100.0, 20.0), false).is_empty());
        let seconds = runs(&run(1_000.0, 20.0), &run(1_000.0, 60.0), true);
        assert_eq!(seconds, ["seconds: 20 in A, 60 in B"]);
    }
}
