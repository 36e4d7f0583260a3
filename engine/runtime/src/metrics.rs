//! Counters and continuous latency histograms; names, units and labels in docs/metrics.md.

use std::{cell::RefCell, fmt, sync::Arc, time::Duration};

use fulgurite_core::payment::State;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{MetricType, counter::Counter, family::Family},
    registry::Registry,
};

/// A part of a payment's way. The names are the labels of `fulgurite_stage_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// The invoice check of one row.
    Check = 0,
    /// From the commit of an upload until it is durable and can be read.
    Accept = 1,
    /// From the decision of an attempt until it is on disk.
    Journal = 2,
    /// From being placed at a node until the node's window and channels are free.
    Wait = 3,
    /// From the node's word to the send: the attempt becomes durable in between.
    Dispatch = 4,
    /// From the send to the end of the attempt.
    Node = 5,
    /// From the end of the attempt to the outcome on disk.
    Outcome = 6,
    /// From acceptance to the outcome on disk.
    EndToEnd = 7,
}

impl Stage {
    /// All stages, in the order of a payment's way.
    pub const ALL: [Stage; 8] = [
        Stage::Check,
        Stage::Accept,
        Stage::Journal,
        Stage::Wait,
        Stage::Dispatch,
        Stage::Node,
        Stage::Outcome,
        Stage::EndToEnd,
    ];

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Check => "check",
            Stage::Accept => "accept",
            Stage::Journal => "journal",
            Stage::Wait => "wait",
            Stage::Dispatch => "dispatch",
            Stage::Node => "node",
            Stage::Outcome => "outcome",
            Stage::EndToEnd => "end_to_end",
        }
    }
}

/// Upper bounds of the classic buckets, in microseconds: fine where the work is, and exact at the
/// SLO limits (50 ms, 500 ms, 1 s, 3 s, 5 s).
pub const BUCKETS_US: [u64; 20] = [
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    3_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    600_000_000,
];

/// The longest latency that is told apart, in microseconds: one hour.
const LONGEST_US: u64 = 3_600_000_000;

type Set = [Histogram<u64>; Stage::ALL.len()];

fn new_set() -> Set {
    std::array::from_fn(|_| {
        Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are constants that fit")
    })
}

thread_local! {
    /// The recorder of a thread that records often; merged every second.
    static RECORDER: RefCell<Option<Box<Set>>> = const { RefCell::new(None) };
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeLabel {
    node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActorLabel {
    actor: &'static str,
}

/// The histograms of all stages since the start.
pub struct Stages(Mutex<Box<Set>>);

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stages")
    }
}

impl Collector for Stages {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let set = self.0.lock();
        let mut family = encoder.encode_descriptor(
            "fulgurite_stage_seconds",
            "Latency of each part of a payment's way",
            None,
            MetricType::Histogram,
        )?;
        for stage in Stage::ALL {
            let histogram = &set[stage as usize];
            let mut below = 0;
            let mut buckets: Vec<(f64, u64)> = BUCKETS_US
                .iter()
                .map(|&upper| {
                    let count = histogram.count_between(0, upper).saturating_sub(below);
                    below += count;
                    (Duration::from_micros(upper).as_secs_f64(), count)
                })
                .collect();
            buckets.push((f64::MAX, histogram.len().saturating_sub(below)));
            let sum = histogram.mean() / 1e6 * histogram.len() as f64;
            family
                .encode_family(&StageLabel { stage: stage.name() })?
                .encode_histogram::<StageLabel>(sum, histogram.len(), &buckets, None)?;
        }
        Ok(())
    }
}

/// All metrics of the engine.
pub struct Metrics {
    stages: Arc<Stages>,
    registry: Mutex<Registry>,
    payments: Family<StateLabel, Counter>,
    resends: Family<NodeLabel, Counter>,
    lost: Family<NodeLabel, Counter>,
    never_sent: Family<NodeLabel, Counter>,
    fences: Family<NodeLabel, Counter>,
    deaths: Family<ActorLabel, Counter>,
    contradictions: Counter,
    stuck: Counter,
    accepted: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let metrics = Metrics {
            stages: Arc::new(Stages(Mutex::new(Box::new(new_set())))),
            registry: Mutex::new(Registry::default()),
            payments: Family::default(),
            resends: Family::default(),
            lost: Family::default(),
            never_sent: Family::default(),
            fences: Family::default(),
            deaths: Family::default(),
            contradictions: Counter::default(),
            stuck: Counter::default(),
            accepted: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.lock();
        registry.register_collector(Box::new(Arc::clone(&self.stages)));
        let r = &mut *registry;
        r.register("fulgurite_payments", "Payments that became final", self.payments.clone());
        r.register(
            "fulgurite_resends",
            "Sends of an attempt after its first",
            self.resends.clone(),
        );
        let help = "Sends whose stream ended without proof of what became of them";
        r.register("fulgurite_sends_lost", help, self.lost.clone());
        let help = "Attempts that ended as never sent";
        r.register("fulgurite_attempts_never_sent", help, self.never_sent.clone());
        r.register("fulgurite_fences", "Fences that were raised", self.fences.clone());
        r.register(
            "fulgurite_actor_deaths",
            "Actors that died and were rebuilt",
            self.deaths.clone(),
        );
        let help = "Answers of nodes that cannot be; each leaves a payment unresolved";
        r.register("fulgurite_contradictions", help, self.contradictions.clone());
        let help = "Payments that became unresolved because no HTLC of them is anywhere";
        r.register("fulgurite_payments_stuck", help, self.stuck.clone());
        r.register("fulgurite_orders_accepted", "Orders that were accepted", self.accepted.clone());
    }

    /// Registers what other parts of the process measure.
    pub fn register_collector(&self, collector: Box<dyn Collector>) {
        self.registry.lock().register_collector(collector);
    }

    /// Writes everything in the Prometheus text format.
    pub fn encode(&self, out: &mut String) -> fmt::Result {
        prometheus_client::encoding::text::encode(out, &self.registry.lock())
    }

    /// Makes this thread record into histograms of its own, merged by [`Metrics::merge`] on it.
    pub fn record_here(&self) {
        RECORDER.with(|recorder| *recorder.borrow_mut() = Some(Box::new(new_set())));
    }

    /// Adds one latency.
    pub fn record(&self, stage: Stage, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US);
        let here = RECORDER.with(|recorder| match recorder.borrow_mut().as_mut() {
            Some(set) => {
                set[stage as usize].saturating_record(us);
                true
            }
            None => false,
        });
        if !here {
            self.stages.0.lock()[stage as usize].saturating_record(us);
        }
    }

    /// Adds this thread's histograms to the shared ones.
    pub fn merge(&self) {
        RECORDER.with(|recorder| {
            if let Some(set) = recorder.borrow_mut().as_mut() {
                let mut all = self.stages.0.lock();
                for (all, own) in all.iter_mut().zip(set.iter_mut()) {
                    if !own.is_empty() {
                        all.add(&*own).expect("the same bounds");
                        own.reset();
                    }
                }
            }
        });
    }

    /// The latency below which `quantile` (0 to 1) of a stage's values lie, and their number.
    pub fn quantile(&self, stage: Stage, quantile: f64) -> (Duration, u64) {
        let all = self.stages.0.lock();
        let histogram = &all[stage as usize];
        (Duration::from_micros(histogram.value_at_quantile(quantile)), histogram.len())
    }

    /// A payment is final.
    pub fn finished(&self, state: &State) {
        self.payments.get_or_create(&StateLabel { state: state.name() }).inc();
    }

    /// Orders were accepted.
    pub fn accepted(&self, orders: u64) {
        self.accepted.inc_by(orders);
    }

    /// An attempt was sent again.
    pub fn resent(&self, node: &str) {
        self.resends.get_or_create(&NodeLabel { node: node.to_owned() }).inc();
    }

    /// A send ended without proof.
    pub fn send_lost(&self, node: &str) {
        self.lost.get_or_create(&NodeLabel { node: node.to_owned() }).inc();
    }

    /// An attempt ended as never sent.
    pub fn never_sent(&self, node: &str) {
        self.never_sent.get_or_create(&NodeLabel { node: node.to_owned() }).inc();
    }

    /// A fence is up.
    pub fn fence_raised(&self, node: &str) {
        self.fences.get_or_create(&NodeLabel { node: node.to_owned() }).inc();
    }

    /// An actor died.
    pub fn actor_died(&self, actor: &'static str) {
        self.deaths.get_or_create(&ActorLabel { actor }).inc();
    }

    /// No HTLC of a payment is anywhere.
    pub fn stuck(&self) {
        self.stuck.inc();
    }

    /// A node said something impossible.
    pub fn contradiction(&self) {
        self.contradictions.inc();
    }
}
