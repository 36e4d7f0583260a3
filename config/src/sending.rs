//! `[batch]`, `[retry]`, `[sends]`, `[window]`, `[breaker]` and `[channels]`: what goes out.

use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;

/// What a batch gets that does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Which batch goes first when the nodes are busy. Default `normal`.
    pub priority: Priority,
    /// The most payments of a batch in flight at once, 1 to 100,000. Default 10,000.
    pub in_flight_max: u32,
    /// The most attempts of a batch that start in a second, 0 to 100,000; 0 is no limit.
    /// Default 0.
    pub payments_per_second_max: u32,
    /// The most payments of a batch in flight to one payee, 0 to 100,000; 0 is no limit.
    /// Default 0.
    pub per_destination_in_flight_max: u32,
    /// The batch pauses when so many payments failed, 0 to 100,000; 0 is never. Default 0.
    pub failed_count_max: u32,
    /// The batch pauses when so many percent of its final payments failed (of at least 20), 0 to
    /// 100; 0 is never. Default 0.
    pub failed_percent_max: u32,
    /// The most attempts for a payment, 1 to 100. Default 5.
    pub attempts_max: u32,
    /// The most blocks that a payment may be locked for, 144 to 2,016. Default 1,008.
    pub cltv_limit_blocks: u32,
    /// What a payment without a limit of its own may pay in fees.
    pub fee_policy: FeePolicy,
}

/// What a payment may pay in fees: a base and a share of its amount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeePolicy {
    /// Allowed whatever the amount, in millisatoshi; 0 to 100,000,000,000. Default 10,000.
    pub base_msat: u64,
    /// Allowed on top, in millionths of the amount; 0 to 1,000,000. Default 5,000.
    pub proportional_ppm: u32,
}

impl Default for FeePolicy {
    fn default() -> FeePolicy {
        FeePolicy { base_msat: 10_000, proportional_ppm: 5_000 }
    }
}

/// Which batch goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After the others.
    Low,
    /// In between.
    #[default]
    Normal,
    /// Before the others.
    High,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            priority: Priority::Normal,
            in_flight_max: 10_000,
            payments_per_second_max: 0,
            per_destination_in_flight_max: 0,
            failed_count_max: 0,
            failed_percent_max: 0,
            attempts_max: 5,
            cltv_limit_blocks: 1_008,
            fee_policy: FeePolicy::default(),
        }
    }
}

impl Batch {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        let rate = self.payments_per_second_max;
        let per_destination = self.per_destination_in_flight_max;
        bounds.within("batch.in_flight_max", self.in_flight_max, 1..=100_000);
        bounds.within("batch.payments_per_second_max", rate, 0..=100_000);
        bounds.within("batch.per_destination_in_flight_max", per_destination, 0..=100_000);
        bounds.within("batch.failed_count_max", self.failed_count_max, 0..=100_000);
        bounds.within("batch.failed_percent_max", self.failed_percent_max, 0..=100);
        bounds.within("batch.attempts_max", self.attempts_max, 1..=100);
        bounds.within("batch.cltv_limit_blocks", self.cltv_limit_blocks, 144..=2_016);
        let FeePolicy { base_msat, proportional_ppm } = self.fee_policy;
        bounds.within("batch.fee_policy.base_msat", base_msat, 0..=100_000_000_000);
        bounds.within("batch.fee_policy.proportional_ppm", proportional_ppm, 0..=1_000_000);
    }
}

/// What follows a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// The wait before the second attempt, in milliseconds; it doubles with each attempt. 1 to
    /// 600,000. Default 250.
    pub backoff_ms_first: u32,
    /// The longest wait, in milliseconds; 1 to 3,600,000, not below the first. Default 30,000.
    pub backoff_ms_max: u32,
    /// No attempt starts in the last seconds of an invoice's life, 0 to 3,600. Default 15.
    pub expiry_margin_s: u32,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { backoff_ms_first: 250, backoff_ms_max: 30_000, expiry_margin_s: 15 }
    }
}

impl Retry {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.within("retry.backoff_ms_first", self.backoff_ms_first, 1..=600_000);
        let first = self.backoff_ms_first.clamp(1, 600_000);
        bounds.within("retry.backoff_ms_max", self.backoff_ms_max, first..=3_600_000);
        bounds.within("retry.expiry_margin_s", self.expiry_margin_s, 0..=3_600);
    }
}

/// One `SendPaymentV2` call. The first three bound how late a lost request can still start a
/// payment, and so how long an unknown outcome waits before another attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sends {
    /// A send's macaroon is valid for so many seconds, up to half as long again; 2 to 60.
    /// Default 10.
    pub expiry_s: u32,
    /// The `grpc-timeout` of a send, in milliseconds; 500 to 60,000. Default 10,000.
    pub deadline_ms: u32,
    /// The wait on top of the deadline behind a fence, in milliseconds; 100 to 600,000.
    /// Default 10,000; shorter is for tests.
    pub fence_margin_ms: u32,
    /// For how long a node starts new HTLCs for a payment (`timeout_seconds`), 1 to 3,600.
    /// Default 30.
    pub payment_timeout_s: u32,
    /// So many seconds after that, a payment that is in flight with no HTLC on its channels becomes
    /// unresolved, 1 to 86,400; lnd keeps an HTLC back for up to 60 s. Default 90.
    pub stuck_after_s: u32,
    /// A node that says nothing of a payment in flight for so many seconds is asked for it, 1 to
    /// 86,400. Default 60.
    pub silence_s_max: u32,
    /// A payment in flight for so many seconds, as by a hold invoice, leaves the windows of its
    /// batch and its node to others; in its channels it keeps its slots. 1 to 86,400. Default 60.
    pub long_after_s: u32,
    /// The most parts that a node may split a payment into (`max_parts`), 1 to 1,000.
    /// Default 16.
    pub parts_max: u32,
}

impl Default for Sends {
    fn default() -> Sends {
        Sends {
            expiry_s: 10,
            deadline_ms: 10_000,
            fence_margin_ms: 10_000,
            payment_timeout_s: 30,
            stuck_after_s: 90,
            silence_s_max: 60,
            long_after_s: 60,
            parts_max: 16,
        }
    }
}

impl Sends {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.within("sends.expiry_s", self.expiry_s, 2..=60);
        bounds.within("sends.deadline_ms", self.deadline_ms, 500..=60_000);
        bounds.within("sends.fence_margin_ms", self.fence_margin_ms, 100..=600_000);
        bounds.within("sends.payment_timeout_s", self.payment_timeout_s, 1..=3_600);
        bounds.within("sends.stuck_after_s", self.stuck_after_s, 1..=86_400);
        bounds.within("sends.silence_s_max", self.silence_s_max, 1..=86_400);
        bounds.within("sends.long_after_s", self.long_after_s, 1..=86_400);
        bounds.within("sends.parts_max", self.parts_max, 1..=1_000);
    }
}

/// How many payments are in flight at one node: grows while payments do not take longer for it,
/// then doubles as long as that brings more payments a second; shrinks to three quarters each time
/// that the node shows that it is too many, then grows slowly, and doubles again after half a
/// minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// The window of a node after a start, in payments; `in_flight_min` to `in_flight_max`.
    /// Default 64.
    pub in_flight_start: u32,
    /// It never gets smaller, 1 to 10,000. Default 4.
    pub in_flight_min: u32,
    /// It never gets larger, `in_flight_min` to 10,000; a node can have less. Default 1,000.
    pub in_flight_max: u32,
}

impl Default for Window {
    fn default() -> Window {
        Window { in_flight_start: 64, in_flight_min: 4, in_flight_max: 1_000 }
    }
}

impl Window {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.within("window.in_flight_min", self.in_flight_min, 1..=10_000);
        let low = self.in_flight_min.clamp(1, 10_000);
        bounds.within("window.in_flight_max", self.in_flight_max, low..=10_000);
        let high = self.in_flight_max.clamp(low, 10_000);
        bounds.within("window.in_flight_start", self.in_flight_start, low..=high);
    }
}

/// When a node gets nothing for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// So many faults of a node in a row open its breaker, 1 to 10,000. Default 10.
    pub faults_max: u32,
    /// It stays open for so many milliseconds, 10 to 600,000. Default 1,000.
    pub open_ms: u32,
    /// Then so many payments may try whether the node works again, 1 to 1,000. Default 4.
    pub probes_max: u32,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker { faults_max: 10, open_ms: 1_000, probes_max: 4 }
    }
}

impl Breaker {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.within("breaker.faults_max", self.faults_max, 1..=10_000);
        bounds.within("breaker.open_ms", self.open_ms, 10..=600_000);
        bounds.within("breaker.probes_max", self.probes_max, 1..=1_000);
    }
}

/// What is kept free in each channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Channels {
    /// HTLC slots of a channel that are left to others, 0 to 482. Default 20.
    pub slots_reserve: u32,
    /// The most that dust HTLCs may expose in a channel, in satoshi (lnd's
    /// `channel-max-fee-exposure`); 0 to 2,100,000,000,000,000. Default 500,000.
    pub fee_exposure_sat_max: u64,
}

impl Default for Channels {
    fn default() -> Channels {
        Channels { slots_reserve: 20, fee_exposure_sat_max: 500_000 }
    }
}

impl Channels {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.within("channels.slots_reserve", self.slots_reserve, 0..=482);
        let exposure = self.fee_exposure_sat_max;
        bounds.within("channels.fee_exposure_sat_max", exposure, 0..=crate::doors::SAT_MAX);
    }
}
