//! Where the time goes inside the engine, by its own histograms.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crate::{
    admin,
    result::{Commits, EngineStage},
};

/// The engine's stages, in the order of a payment's way.
const ORDER: [&str; 8] =
    ["check", "accept", "journal", "wait", "dispatch", "node", "outcome", "end_to_end"];

/// The engine's threads publish their histograms within this time.
const PUBLISHED: Duration = Duration::from_millis(1_200);

/// A cumulative histogram: its bounds in seconds with their counts, and its sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cumulative {
    buckets: Vec<(f64, f64)>,
    sum: f64,
}

/// The histograms by stage.
pub(crate) type Stages = BTreeMap<String, Cumulative>;

/// What the engine's page said at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    stages: Stages,
    /// Commits, events and bytes of the journal since the engine's start.
    journal: Option<[f64; 3]>,
}

/// Reads it; nothing when there is no admin listener or it does not answer.
pub(crate) async fn read(admin: Option<SocketAddr>) -> Reading {
    let Some(admin) = admin else { return Reading::default() };
    let asked = tokio::task::spawn_blocking(move || admin::metrics(admin)).await;
    match asked {
        Ok(Ok(text)) => Reading { stages: parse(&text), journal: journal(&text) },
        _ => Reading::default(),
    }
}

/// Reads it when what was recorded last is in them.
pub(crate) async fn settled(admin: Option<SocketAddr>) -> Reading {
    if admin.is_some() {
        tokio::time::sleep(PUBLISHED).await;
    }
    read(admin).await
}

/// `fulgurite_stage_seconds` of a page of metrics.
fn parse(text: &str) -> Stages {
    let mut stages = Stages::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("fulgurite_stage_seconds_") else { continue };
        let Some((kind, rest)) = rest.split_once('{') else { continue };
        let Some((labels, value)) = rest.split_once("} ") else { continue };
        // An exemplar may follow.
        let value = value.split(' ').next().and_then(|value| value.parse::<f64>().ok());
        let label = |name: &str| {
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            let found = labels.into_iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.trim_matches('"').to_owned())
        };
        let (Some(stage), Some(value)) = (label("stage"), value) else { continue };
        let stage = stages.entry(stage).or_default();
        match (kind, label("le").and_then(|bound| bound.parse::<f64>().ok())) {
            ("sum", _) => stage.sum = value,
            ("bucket", Some(bound)) => stage.buckets.push((bound, value)),
            _ => {}
        }
    }
    for stage in stages.values_mut() {
        stage.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    stages
}

/// The journal's counters of a page of metrics.
fn journal(text: &str) -> Option<[f64; 3]> {
    let value = |name: &str| {
        let name = format!("fulgurite_journal_{name}_total ");
        let rest = text.lines().find_map(|line| line.strip_prefix(&name))?;
        rest.split(' ').next()?.parse::<f64>().ok()
    };
    Some([value("commits")?, value("events")?, value("bytes")?])
}

/// How large the journal's commits between two readings were; `None` without any.
pub(crate) fn commits(before: &Reading, after: &Reading) -> Option<Commits> {
    let (before, after) = (before.journal?, after.journal?);
    let [commits, events, bytes] = [0, 1, 2].map(|at| after[at] - before[at]);
    (commits > 0.0).then(|| Commits {
        count: commits as u64,
        events_each: events / commits,
        bytes_each: bytes / commits,
    })
}

/// The engine's stages between two readings.
pub(crate) fn between(before: &Reading, after: &Reading) -> Vec<EngineStage> {
    let (before, after, none) = (&before.stages, &after.stages, Cumulative::default());
    let stages = ORDER.iter().filter_map(|name| {
        let (after, before) = (after.get(*name)?, before.get(*name).unwrap_or(&none));
        let buckets = after.buckets.iter().map(|(bound, count)| {
            let known = before.buckets.iter().find(|(known, _)| known == bound);
            (*bound, count - known.map_or(0.0, |(_, count)| *count))
        });
        let here = Cumulative { buckets: buckets.collect(), sum: after.sum - before.sum };
        let count = here.buckets.last().map_or(0.0, |(_, count)| *count);
        (count > 0.0).then(|| EngineStage {
            name: (*name).to_owned(),
            count: count as u64,
            mean_ms: here.sum / count * 1e3,
            p50_ms: here.quantile(0.5) * 1e3,
            p99_ms: here.quantile(0.99) * 1e3,
        })
    });
    stages.collect()
}

impl Cumulative {
    /// Straight lines between the bounds, as Prometheus draws them.
    fn quantile(&self, quantile: f64) -> f64 {
        let all = self.buckets.last().map_or(0.0, |(_, count)| *count);
        let (rank, mut below) = (all * quantile, (0.0, 0.0));
        for &(bound, count) in &self.buckets {
            if count >= rank {
                if bound.is_infinite() || count <= below.1 {
                    return below.0;
                }
                return below.0 + (bound - below.0) * (rank - below.1) / (count - below.1);
            }
            below = (bound, count);
        }
        below.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(scale: u32) -> String {
        let (half, all) = (50 * scale, 100 * scale);
        format!(
            "# TYPE fulgurite_stage_seconds histogram\n\
             fulgurite_stage_seconds_sum{{stage=\"node\"}} {all}.0\n\
             fulgurite_stage_seconds_count{{stage=\"node\"}} {all}\n\
             fulgurite_stage_seconds_bucket{{le=\"0.5\",stage=\"node\"}} {half}\n\
             fulgurite_stage_seconds_bucket{{le=\"1.5\",stage=\"node\"}} {all}\n\
             fulgurite_stage_seconds_bucket{{le=\"+Inf\",stage=\"node\"}} {all}\n\
             fulgurite_journal_commits_total {half}\n\
             fulgurite_journal_events_total {all}\n\
             fulgurite_journal_bytes_total {all}00\n\
             fulgurite_ready 1\n"
        )
    }

    fn reading(scale: u32) -> Reading {
        let page = page(scale);
        Reading { stages: parse(&page), journal: journal(&page) }
    }

    #[test]
    fn commits_are_counted_between_two_readings() {
        let commits = commits(&reading(1), &reading(3)).unwrap();
        assert_eq!((commits.count, commits.events_each, commits.bytes_each), (100, 2.0, 200.0));
        assert_eq!(super::commits(&reading(2), &reading(2)), None);
        assert_eq!(super::commits(&Reading::default(), &reading(2)), None);
    }

    #[test]
    fn a_stage_is_what_came_between_two_readings() {
        let stages = between(&reading(1), &reading(3));
        assert_eq!(stages.len(), 1);
        let node = &stages[0];
        assert_eq!((node.name.as_str(), node.count), ("node", 200));
        assert_eq!((node.mean_ms, node.p50_ms), (1_000.0, 500.0));
        assert!((node.p99_ms - 1_480.0).abs() < 1e-6, "{node:?}");
        assert!(between(&reading(2), &reading(2)).is_empty());
    }
}
