//! The arithmetic of a plan: how much each part lets through. No clock, no file, no randomness.

use super::amounts::Amounts;

/// What is asked of everything together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// Payments a second.
    pub rate: f64,
    /// How long an attempt is in flight, in seconds: the mean.
    pub latency_s: f64,
    /// The share of attempts that succeed, above 0.
    pub success: f64,
    /// The most attempts of a payment.
    pub attempts_max: f64,
    /// HTLCs of an attempt, on average.
    pub parts: f64,
    pub amounts: Amounts,
    /// How much of each part may be used: what is left is head-room.
    pub used_max: f64,
}

/// What there is, or is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parts {
    pub nodes: f64,
    /// Attempts a second that one node makes; infinite: it is not the limit.
    pub node_rate: f64,
    /// Channels of one node.
    pub channels: f64,
    /// HTLC slots of a channel that are used.
    pub slots: f64,
    /// The engine's window of a node, in attempts.
    pub window: f64,
    /// What a node can send over one full channel, in satoshi.
    pub channel_sat: f64,
    /// How long until the channels are filled again, in seconds.
    pub refill_s: f64,
    /// Payments in flight of all batches.
    pub batches: f64,
    /// Of the engine's machine, for the engine.
    pub processors: f64,
    /// The engine's processor time for a payment, in microseconds.
    pub engine_us: f64,
}

/// What can be the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    NodeRate,
    Slots,
    Windows,
    Batches,
    Liquidity,
    Cpu,
}

impl Limit {
    /// All of them.
    pub const ALL: [Limit; 6] = [
        Limit::NodeRate,
        Limit::Slots,
        Limit::Windows,
        Limit::Batches,
        Limit::Liquidity,
        Limit::Cpu,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Limit::NodeRate => "the nodes' own rate",
            Limit::Slots => "HTLC slots",
            Limit::Windows => "windows of the nodes",
            Limit::Batches => "windows of the batches",
            Limit::Liquidity => "liquidity",
            Limit::Cpu => "the engine's processors",
        }
    }
}

/// Doubles one thing.
type Double = fn(&mut Parts, &mut Wanted);

/// What can be doubled (time: halved).
pub(crate) const LEVERS: [(&str, Double); 9] = [
    ("nodes", |parts, _| parts.nodes *= 2.0),
    ("payments a second of each node", |parts, _| parts.node_rate *= 2.0),
    ("channels of each node", |parts, _| parts.channels *= 2.0),
    ("capacity of each channel", |parts, _| parts.channel_sat *= 2.0),
    ("refills of the channels", |parts, _| parts.refill_s /= 2.0),
    ("windows of the nodes", |parts, _| parts.window *= 2.0),
    ("windows of the batches", |parts, _| parts.batches *= 2.0),
    ("the engine's processors", |parts, _| parts.processors *= 2.0),
    ("speed of a payment (half the latency)", |_, wanted| wanted.latency_s /= 2.0),
];

impl Wanted {
    /// Attempts of a payment, on average: each fails for itself, up to the most there are.
    pub fn attempts(&self) -> f64 {
        (1.0 - (1.0 - self.success).powf(self.attempts_max)) / self.success
    }

    /// The share of payments that succeed in the end.
    pub fn paid_share(&self) -> f64 {
        1.0 - (1.0 - self.success).powf(self.attempts_max)
    }

    /// Attempts in flight (Little's law).
    pub fn in_flight(&self) -> f64 {
        self.rate * self.attempts() * self.latency_s
    }

    /// Satoshi on the nodes' side for each payment a second: in flight, and paid since the last
    /// refill.
    pub fn liquidity_each(&self, refill_s: f64) -> f64 {
        self.amounts.mean_sat * (self.attempts() * self.latency_s + self.paid_share() * refill_s)
    }
}

impl Parts {
    /// How many payments a second a part lets through, all of it used.
    pub fn max(&self, wanted: &Wanted, limit: Limit) -> f64 {
        let attempts = wanted.attempts();
        // What has no latency is never in flight: no slot and no window is the limit.
        let in_flight = |places: f64| places / wanted.latency_s / attempts;
        match limit {
            Limit::NodeRate => self.nodes * self.node_rate / attempts,
            Limit::Slots => in_flight(self.nodes * self.channels * self.slots / wanted.parts),
            Limit::Windows => in_flight(self.nodes * self.window),
            Limit::Batches => in_flight(self.batches),
            Limit::Liquidity => {
                self.nodes * self.channels * self.channel_sat / wanted.liquidity_each(self.refill_s)
            }
            Limit::Cpu => self.processors * 1e6 / self.engine_us,
        }
    }

    /// The part that lets through the least, and how many payments a second that is.
    pub fn bottleneck(&self, wanted: &Wanted) -> (Limit, f64) {
        let all = Limit::ALL.map(|limit| (limit, self.max(wanted, limit)));
        let least = all.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        least.unwrap_or((Limit::Cpu, 0.0))
    }

    /// So many nodes that those limits which depend on them alone are used as far as they may be:
    /// their own rate and their windows.
    pub fn nodes_for(&self, wanted: &Wanted) -> f64 {
        let one = Parts { nodes: 1.0, ..*self };
        let each = one.max(wanted, Limit::NodeRate).min(one.max(wanted, Limit::Windows));
        whole(wanted.rate / (each * wanted.used_max))
    }

    /// So many channels of each node that slots and liquidity are enough.
    pub fn channels_for(&self, wanted: &Wanted) -> f64 {
        let one = Parts { channels: 1.0, ..*self };
        let each = one.max(wanted, Limit::Slots).min(one.max(wanted, Limit::Liquidity));
        whole(wanted.rate / (each * wanted.used_max))
    }
}

/// Rounded up to a whole number, at least 1; rounding errors are no reason for one more.
fn whole(value: f64) -> f64 {
    (value - 1e-9).ceil().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted {
        rate: 1_000.0,
        latency_s: 3.0,
        success: 1.0,
        attempts_max: 5.0,
        parts: 1.0,
        amounts: Amounts { mean_sat: 10_000.0, p999_sat: 10_000.0, dust_share: 0.0 },
        used_max: 0.7,
    };
    const PARTS: Parts = Parts {
        nodes: 29.0,
        node_rate: 50.0,
        channels: 1.0,
        slots: 463.0,
        window: 1_000.0,
        channel_sat: 10e6,
        refill_s: 0.0,
        batches: 10_000.0,
        processors: 2.0,
        engine_us: 80.0,
    };

    #[test]
    fn each_part_lets_through_what_its_arithmetic_says() {
        for (limit, expected) in [
            (Limit::NodeRate, 29.0 * 50.0),
            (Limit::Slots, 29.0 * 463.0 / 3.0),
            (Limit::Windows, 29.0 * 1_000.0 / 3.0),
            (Limit::Batches, 10_000.0 / 3.0),
            // 290 M sat; each payment a second has 30,000 sat in flight.
            (Limit::Liquidity, 290e6 / 30_000.0),
            (Limit::Cpu, 25_000.0),
        ] {
            let max = PARTS.max(&WANTED, limit);
            assert!((max / expected - 1.0).abs() < 1e-9, "{limit:?}: {max}, not {expected}");
        }
        assert_eq!(PARTS.bottleneck(&WANTED).0, Limit::NodeRate);
    }

    #[test]
    fn attempts_that_fail_are_made_again_and_use_what_others_could() {
        let wanted = Wanted { success: 0.8, ..WANTED };
        // 1 + 0.2 + 0.04 + 0.008 + 0.0016
        assert!((wanted.attempts() - 1.2496).abs() < 1e-9);
        assert!((wanted.paid_share() - (1.0 - 0.2_f64.powi(5))).abs() < 1e-12);
        assert!((wanted.in_flight() - 3_748.8).abs() < 1e-6);
        let (with, without) = (PARTS.max(&wanted, Limit::Slots), PARTS.max(&WANTED, Limit::Slots));
        assert!((without / with - 1.2496).abs() < 1e-9);
    }

    #[test]
    fn nodes_and_channels_leave_the_head_room() {
        // 1,000 / (50 x 0.7) = 28.6
        assert_eq!(PARTS.nodes_for(&WANTED), 29.0);
        assert_eq!(Parts { node_rate: f64::INFINITY, ..PARTS }.nodes_for(&WANTED), 5.0);
        assert_eq!(PARTS.channels_for(&WANTED), 1.0);
        // An hour without a refill: 36 G sat of 10,000 sat payments.
        let parts = Parts { refill_s: 3_600.0, ..PARTS };
        assert_eq!(parts.channels_for(&WANTED), (36.03e9_f64 / 0.7 / 290e6).ceil());
        let exact = Wanted { rate: 350.0, ..WANTED };
        assert_eq!(PARTS.nodes_for(&exact), 10.0);
    }

    #[test]
    fn doubling_the_bottleneck_helps_up_to_the_next_one() {
        let gains: Vec<(&str, f64)> = LEVERS
            .iter()
            .map(|(name, double)| {
                let (mut parts, mut wanted) = (PARTS, WANTED);
                double(&mut parts, &mut wanted);
                (*name, parts.bottleneck(&wanted).1)
            })
            .collect();
        for (name, max) in gains {
            let expected = match name {
                // Twice the nodes: 2,900/s; the batches' windows let 3,333/s through.
                "nodes" | "payments a second of each node" => 2_900.0,
                _ => 1_450.0,
            };
            assert!((max - expected).abs() < 1e-6, "{name}: {max}");
        }
    }

    #[test]
    fn without_latency_neither_slots_nor_windows_are_the_limit() {
        let wanted = Wanted { latency_s: 0.0, ..WANTED };
        assert_eq!(PARTS.max(&wanted, Limit::Slots), f64::INFINITY);
        assert_eq!(PARTS.nodes_for(&wanted), 29.0);
    }
}
