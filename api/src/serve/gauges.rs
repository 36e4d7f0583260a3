//! What is read when somebody asks: the nodes, what waits, what lives, what the journal wrote.

use std::fmt;

use fulgurite_runtime::{
    Engine, intake,
    status::{Load, NodeStatus},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
};

use crate::Doors;

/// Adds the gauges of the doors and the nodes to the engine's metrics.
pub(super) fn register(engine: &Engine, doors: &Doors, open_network: bool) {
    let gauges = Gauges { doors: doors.clone(), open_network };
    engine.metrics().register_collector(Box::new(gauges));
}

struct Gauges {
    doors: Doors,
    open_network: bool,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeLabel {
    node: String,
}

/// A number that each node has.
type OfNode = fn(&NodeStatus) -> i64;

/// The gauges of a node: name, help, value.
const OF_NODES: [(&str, &str, OfNode); 14] = [
    ("fulgurite_node_connected", "1 while the node can be used", |node| i64::from(node.connected)),
    ("fulgurite_node_breaker_open", "1 while the node gets nothing", |node| {
        i64::from(node.breaker != "closed")
    }),
    ("fulgurite_node_draining", "1 while no new attempt starts there", |node| {
        i64::from(node.draining)
    }),
    ("fulgurite_node_quarantined", "1 while the node is not believed", |node| {
        i64::from(node.quarantine.is_some())
    }),
    ("fulgurite_node_window", "Payments that may be in flight there", |node| {
        i64::from(node.window)
    }),
    ("fulgurite_node_in_flight", "Payments in flight there", |node| i64::from(node.in_flight)),
    ("fulgurite_node_long_attempts", "Those of them that left the windows", |node| {
        i64::from(node.long)
    }),
    ("fulgurite_node_silent_attempts", "Attempts that the node was asked for in vain", |node| {
        i64::from(node.silent)
    }),
    ("fulgurite_node_oldest_attempt_seconds", "The age of its oldest attempt", |node| {
        node.oldest_ms / 1_000
    }),
    ("fulgurite_node_closing_channels", "Channels being closed, when it was asked last", |node| {
        i64::from(node.closing_channels)
    }),
    ("fulgurite_node_attempts_per_second", "Attempts that ended there, over ten seconds", |node| {
        node.measured_rate.round() as i64
    }),
    ("fulgurite_node_queued", "Orders that wait for its window", |node| i64::from(node.queued)),
    ("fulgurite_node_spendable_msat", "What its active channels can send", |node| {
        i64::try_from(node.spendable.get()).unwrap_or(i64::MAX)
    }),
    ("fulgurite_node_clock_offset_seconds", "How far its clock is ahead of ours", |node| {
        node.clock_offset_ms / 1_000
    }),
];

/// A number that the engine has.
type OfEngine = fn(&Seen) -> u64;

/// The gauges of the engine: name, help, value.
const OF_ENGINE: [(&str, &str, OfEngine); 13] = [
    ("fulgurite_ready", "1 while orders are taken and can be paid", |seen| u64::from(seen.ready)),
    ("fulgurite_open_payments", "Payments that are not final", |seen| seen.load.open_payments),
    ("fulgurite_open_payments_max", "How many payments may be open", |seen| {
        seen.limits.open_payments_max as u64
    }),
    ("fulgurite_uploads", "Uploads on their way", |seen| seen.load.uploads),
    ("fulgurite_uploads_max", "How many uploads may be on their way", |seen| {
        seen.limits.uploads_max as u64
    }),
    ("fulgurite_check_waiting", "Rows of uploads that wait for the invoice check", |seen| {
        seen.check_waiting
    }),
    ("fulgurite_journal_waiting", "Events that wait for the journal's writer", |seen| {
        seen.load.journal_waiting
    }),
    ("fulgurite_projector_lag", "Events that are durable and not yet in the read model", |seen| {
        seen.load.projector_lag
    }),
    ("fulgurite_journal_oldest_lsn", "The first event whose record is kept", |seen| {
        seen.load.journal.oldest_lsn
    }),
    ("fulgurite_journal_oldest_seconds", "The age of the oldest record that is kept", |seen| {
        let age_ms = crate::doors::now().since(seen.load.journal.oldest_time);
        u64::try_from(age_ms).unwrap_or(0) / 1_000
    }),
    (
        "fulgurite_journal_retention_failed",
        "1 while old records are kept because something is wrong",
        |seen| u64::from(seen.load.journal.retention_failed),
    ),
    ("fulgurite_disk_free_bytes", "What the journal's disk has left", |seen| {
        seen.load.disk_free_bytes
    }),
    (
        "fulgurite_unauthenticated_network",
        "1 when anybody who reaches a listener may pay",
        |seen| u64::from(seen.open_network),
    ),
];

/// A count since the start: name without `_total`, help, value.
const OF_JOURNAL: [(&str, &str, OfEngine); 3] = [
    ("fulgurite_journal_commits", "Group commits", |seen| seen.load.journal.commits),
    ("fulgurite_journal_events", "Events that are on disk", |seen| seen.load.journal.events),
    ("fulgurite_journal_bytes", "Bytes of their records", |seen| seen.load.journal.bytes),
];

/// What the engine's gauges are read from.
struct Seen {
    ready: bool,
    load: Load,
    limits: intake::Limits,
    check_waiting: u64,
    open_network: bool,
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let nodes = self.doors.engine.nodes();
        for (name, help, value) in OF_NODES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for node in &nodes {
                let label = NodeLabel { node: node.name.to_string() };
                ConstGauge::new(value(node)).encode(family.encode_family(&label)?)?;
            }
        }
        let engine = &self.doors.engine;
        let seen = Seen {
            ready: engine.readiness().is_ready(),
            load: engine.load(),
            limits: engine.limits(),
            check_waiting: self.doors.checker.waiting() as u64,
            open_network: self.open_network,
        };
        for (name, help, value) in OF_ENGINE {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            let value = i64::try_from(value(&seen)).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(family)?;
        }
        for (name, help, value) in OF_JOURNAL {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value(&seen)).encode(family)?;
        }
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let help = "The program that runs";
        let kind = build.metric_type();
        build.encode(encoder.encode_descriptor("fulgurite_build", help, None, kind)?)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use fulgurite_core::payment::State;
    use fulgurite_runtime::metrics::{Metrics, Stage};

    use super::*;

    /// What docs/metrics.md lists: name, type, label.
    fn documented() -> BTreeSet<String> {
        let rows = include_str!("../../../docs/metrics.md").lines();
        let rows = rows.filter_map(|row| row.strip_prefix("| `fulgurite_"));
        rows.map(|row| {
            let cells: Vec<&str> =
                row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            format!("fulgurite_{} {} {}", cells[0], cells[1], cells[2]).trim_end().to_owned()
        })
        .collect()
    }

    /// What a scrape shows: name, type, first label.
    fn scraped(text: &str) -> BTreeSet<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types
            .filter_map(|line| {
                let (name, kind) = line.split_once(' ')?;
                let suffix = if kind == "counter" { "_total" } else { "" };
                let series = text.lines().find(|line| {
                    line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['_', '{', ' ']))
                });
                let labels = series?.split_once('{').map(|(_, labels)| labels).unwrap_or_default();
                let mut labels = labels.split(',').filter_map(|label| label.split_once('='));
                let label = labels.find(|(label, _)| *label != "le").map_or("", |(label, _)| label);
                Some(format!("{name}{suffix} {kind} {label}").trim_end().to_owned())
            })
            .collect()
    }

    #[test]
    fn docs_metrics_lists_what_is_registered() {
        let metrics = Metrics::default();
        metrics.finished(&State::Cancelled);
        metrics.resent("node");
        metrics.send_lost("node");
        metrics.never_sent("node");
        metrics.fence_raised("node");
        metrics.actor_died("batch");
        metrics.contradiction();
        metrics.accepted(1);
        metrics.record(Stage::Node, Duration::from_millis(1));
        let mut text = String::new();
        metrics.encode(&mut text).unwrap();
        let mut expected = scraped(&text);
        expected.extend(OF_NODES.map(|(name, ..)| format!("{name} gauge node")));
        expected.extend(OF_ENGINE.map(|(name, ..)| format!("{name} gauge")));
        expected.extend(OF_JOURNAL.map(|(name, ..)| format!("{name}_total counter")));
        expected.insert("fulgurite_build_info info version".to_owned());
        assert_eq!(documented(), expected);
    }
}
