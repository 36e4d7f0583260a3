//! What the configuration means to each part: the one place where all of them meet.

use std::{path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use fulgurite_config::{Config, Network, Node, Priority, Signatures};
use fulgurite_core::{
    FeePolicy, Msat, breaker, channel, node,
    order::{self, BatchOptions},
    retry::RetryPolicy,
    window,
};
use fulgurite_journal::JournalOptions;
use fulgurite_lnd::{Guard, LndConfig, LndNode, OwnKeys};
use fulgurite_runtime::{
    NodeOptions, Options, intake,
    slot::{OpenNode, SendPolicy},
    witness::WitnessPolicy,
};

use crate::{Limits, check};

const DAY_MS: i64 = 86_400_000;

/// How the journal is opened.
pub(super) fn journal(config: &Config) -> JournalOptions {
    let folder: PathBuf = config.engine.data_dir.clone();
    JournalOptions {
        shard: u32::from(config.journal.shard),
        snapshot_every_events: config.journal.snapshot_every_events,
        keep_ms: i64::from(config.journal.keep_days) * DAY_MS,
        version: env!("CARGO_PKG_VERSION").into(),
        ..JournalOptions::new(folder)
    }
}

/// How the actors and the nodes are started.
pub(super) fn runtime(config: &Config, keys: &OwnKeys) -> Options {
    let (sends, channels) = (&config.sends, &config.channels);
    Options {
        nodes: config.nodes.iter().map(|at| node(config, at, keys)).collect(),
        retry: RetryPolicy {
            backoff_ms_first: i64::from(config.retry.backoff_ms_first),
            backoff_ms_max: i64::from(config.retry.backoff_ms_max),
            expiry_margin_ms: i64::from(config.retry.expiry_margin_s) * 1_000,
        },
        sends: SendPolicy {
            expiry_ms: i64::from(sends.expiry_s) * 1_000,
            deadline_ms: i64::from(sends.deadline_ms),
            fence_margin_ms: i64::from(sends.fence_margin_ms),
            payment_timeout_seconds: sends.payment_timeout_s,
            stuck_after_ms: i64::from(sends.stuck_after_s) * 1_000,
            silence_ms_max: i64::from(sends.silence_s_max) * 1_000,
            long_after_ms: i64::from(sends.long_after_s) * 1_000,
            parts_max: sends.parts_max,
        },
        channels: channel::Limits {
            slots_reserve: channels.slots_reserve,
            fee_exposure_max: Msat::from_sat_clamped(channels.fee_exposure_sat_max),
        },
        witness: WitnessPolicy {
            margin_ms: i64::from(config.witness.margin_s) * 1_000,
            every_ms: i64::from(config.witness.every_s) * 1_000,
            accepted: Vec::new(),
        },
        intake: intake::Limits {
            open_payments_max: size(config.limits.open_payments_max),
            uploads_max: size(u64::from(config.limits.uploads_max)),
            disk_floor_bytes: config.journal.disk_floor_mb << 20,
        },
        metrics: Arc::default(),
    }
}

/// How one node is started; `keys` are this engine's, for the clone guard.
pub(super) fn node(config: &Config, node: &Node, keys: &OwnKeys) -> NodeOptions {
    let window = &config.window;
    let max = if node.in_flight_max == 0 { window.in_flight_max } else { node.in_flight_max };
    let limits = node::Limits {
        window: window::Limits {
            start: window.in_flight_start.min(max),
            min: window.in_flight_min.min(max),
            max,
        },
        breaker: breaker::Limits {
            faults: config.breaker.faults_max,
            open_ms: i64::from(config.breaker.open_ms),
            probes: config.breaker.probes_max,
        },
        payments_per_second_max: node.payments_per_second_max,
    };
    NodeOptions {
        name: node.name.as_str().into(),
        address: node.address.clone(),
        limits,
        open: open_lnd(node, keys),
    }
}

/// Joins the runtime, which knows no adapter, and the adapter, which knows no actor.
fn open_lnd(node: &Node, keys: &OwnKeys) -> OpenNode {
    let lnd = lnd(node, keys);
    Box::new(move |events| Rc::new(LndNode::open(lnd.clone(), events)))
}

/// How a node is reached.
pub(super) fn lnd(node: &Node, keys: &OwnKeys) -> LndConfig {
    let guard = &node.guard_macaroon_path;
    let guarded = *guard != PathBuf::new();
    LndConfig {
        guard: guarded.then(|| Guard { macaroon_path: guard.clone(), key: keys.id }),
        key_at: keys.at(&node.name),
        name: node.name.clone(),
        address: node.address.clone(),
        tls_cert_path: node.tls_cert_path.clone(),
        macaroon_path: node.macaroon_path.clone(),
        payment_connections: size(u64::from(node.payment_connections)),
        ..LndConfig::default()
    }
}

/// What every order is judged by.
pub(super) fn rules(config: &Config) -> check::Rules {
    check::Rules {
        network: match config.engine.network {
            Network::Mainnet => check::Network::Mainnet,
            Network::Testnet => check::Network::Testnet,
            Network::Signet => check::Network::Signet,
            Network::Regtest => check::Network::Regtest,
        },
        signatures: match config.check.verify_signatures {
            Signatures::Door => check::Signatures::Door,
            Signatures::Node => check::Signatures::Node,
        },
        limits: limits(config),
    }
}

/// The limits at the doors.
pub(super) fn limits(config: &Config) -> Limits {
    let (check, limits) = (&config.check, &config.limits);
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    Limits {
        payment_amount_max: Msat::from_sat_clamped(check.payment_amount_sat_max),
        batch_amount_max: Msat::from_sat_clamped(check.batch_amount_sat_max),
        final_cltv_delta_max: check.final_cltv_delta_max,
        expiry_margin: seconds(check.expiry_margin_s),
        fee_limit_floor: msat(check.fee_limit_floor_msat),
        fee_limit_ppm_max: check.fee_limit_percent_max * 10_000,
        upload_silence_max: seconds(limits.upload_silence_s_max),
        upload_time_max: seconds(limits.upload_s_max),
        unchecked_rows_max: limits.unchecked_rows_max,
        concurrent_streams_max: config.grpc.concurrent_streams_max,
        concurrent_calls_max: config.grpc.concurrent_calls_max,
        keepalive: seconds(config.grpc.keepalive_s),
        grpc_connections_max: config.grpc.connections_max,
        grpc_preface_time_max: seconds(config.grpc.preface_s_max),
        grpc_request_time_max: seconds(config.grpc.request_s_max),
        http_connections_max: config.http.connections_max,
        http_head_time_max: seconds(config.http.head_s_max),
        http_body_time_max: seconds(config.http.body_s_max),
        http_requests_max: config.http.concurrent_requests_max,
        http_body_bytes_max: size(u64::from(config.http.body_kb_max) << 10),
        open_payments_max: limits.open_payments_max,
        ..Limits::default()
    }
}

/// What a batch gets that does not say otherwise.
pub(super) fn batch(config: &Config) -> BatchOptions {
    let batch = &config.batch;
    BatchOptions {
        start_paused: false,
        accept_valid: false,
        priority: match batch.priority {
            Priority::Low => order::Priority::Low,
            Priority::Normal => order::Priority::Normal,
            Priority::High => order::Priority::High,
        },
        in_flight_max: batch.in_flight_max,
        payments_per_second_max: batch.payments_per_second_max,
        per_destination_in_flight_max: batch.per_destination_in_flight_max,
        failed_count_max: batch.failed_count_max,
        failed_percent_max: batch.failed_percent_max,
        fee_policy: FeePolicy {
            base: msat(batch.fee_policy.base_msat),
            proportional_ppm: batch.fee_policy.proportional_ppm,
        },
        deadline: None,
        attempts_max: u16::try_from(batch.attempts_max).unwrap_or(u16::MAX),
        cltv_limit_blocks: batch.cltv_limit_blocks,
    }
}

fn msat(msat: u64) -> Msat {
    Msat::new(msat).unwrap_or(Msat::MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configurations_defaults_are_those_of_the_parts() {
        let config = Config::default();
        let keys = OwnKeys::new(fulgurite_core::guard::KeyId::new(1, 1, 1));
        let runtime = runtime(&config, &keys);
        assert_eq!(runtime.retry, RetryPolicy::default());
        assert_eq!(runtime.witness, WitnessPolicy::default());
        let open_payments_max = config.limits.open_payments_max;
        assert_eq!(batch(&config), BatchOptions::default());
        assert_eq!(limits(&config), Limits { open_payments_max, ..Limits::default() });
    }
}
