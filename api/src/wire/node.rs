//! The engine and its nodes as messages.

use std::time::Duration;

use fulgurite_core::standing::Quarantine;
use fulgurite_proto::fulgurite::v1;
use fulgurite_runtime::status::{NodeStatus, Readiness};

use super::{count, large, options};
use crate::{
    Doors, Limits,
    check::{invoice, row},
    query::PAGE_SIZE_MAX,
};

/// A node as a message.
pub fn to_proto(node: &NodeStatus) -> v1::Node {
    let breaker = match node.breaker {
        "closed" => v1::node::Breaker::Closed,
        "open" => v1::node::Breaker::Open,
        "half_open" => v1::node::Breaker::HalfOpen,
        _ => v1::node::Breaker::Unspecified,
    };
    v1::Node {
        name: node.name.to_string(),
        address: node.address.clone(),
        identity_pubkey: node.identity_pubkey.clone(),
        alias: node.alias.clone(),
        version: node.version.clone(),
        connected: node.connected,
        problem: node.problem.clone(),
        breaker: breaker.into(),
        window: count(node.window),
        in_flight_count: count(node.in_flight),
        queued_count: count(node.queued),
        active_channel_count: count(node.active_channels),
        spendable_msat: large(node.spendable.get()),
        clock_offset_ms: node.clock_offset_ms,
        block_height: count(node.block_height),
        draining: node.draining,
        quarantine: quarantine(node.quarantine).into(),
        contradicted_payment_ids: node.contradicted.iter().map(|id| id.to_string()).collect(),
    }
}

fn quarantine(why: Option<Quarantine>) -> v1::node::Quarantine {
    match why {
        None => v1::node::Quarantine::Unspecified,
        Some(Quarantine::IdentityChanged) => v1::node::Quarantine::IdentityChanged,
        Some(Quarantine::PaymentForgotten) => v1::node::Quarantine::PaymentForgotten,
        Some(Quarantine::Lost) => v1::node::Quarantine::Lost,
    }
}

/// The engine as a message.
pub fn engine(doors: &Doors) -> v1::Engine {
    let readiness = doors.engine.readiness();
    v1::Engine {
        version: env!("CARGO_PKG_VERSION").into(),
        network: doors.network().name().into(),
        ready: readiness.is_ready() && !doors.is_stopping(),
        not_ready_reasons: not_ready(&readiness).iter().map(|&text| text.into()).collect(),
        limits: Some(limits(&doors.limits)),
        default_options: Some(options::to_proto(&doors.defaults)),
        node_count: count(readiness.nodes),
        connected_node_count: count(readiness.nodes_connected),
        verify_signatures: doors.signatures().name().into(),
    }
}

/// Why the engine is not ready, for a person; empty when it is.
pub fn not_ready(readiness: &Readiness) -> Vec<&'static str> {
    let reasons = [
        (!readiness.recovered, "the journal is being recovered"),
        (readiness.nodes_connected == 0, "no node is connected"),
        (readiness.stopping, "the engine is stopping"),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}

fn limits(limits: &Limits) -> v1::Limits {
    let seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
    let size = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
    v1::Limits {
        batch_order_count_max: count(limits.batch_orders_max),
        message_order_count_max: count(limits.message_orders_max),
        message_bytes_max: size(limits.message_bytes_max),
        payment_amount_msat_max: large(limits.payment_amount_max.get()),
        batch_amount_msat_max: large(limits.batch_amount_max.get()),
        final_cltv_delta_max: count(limits.final_cltv_delta_max),
        invoice_expiry_margin_seconds: seconds(limits.expiry_margin),
        fee_limit_base_msat_max: large(limits.fee_limit_floor.get()),
        fee_limit_ppm_max: count(limits.fee_limit_ppm_max),
        upload_idle_seconds_max: seconds(limits.upload_silence_max),
        upload_seconds_max: seconds(limits.upload_time_max),
        page_size_max: size(PAGE_SIZE_MAX),
        reference_bytes_max: size(row::REFERENCE_BYTES_MAX),
        invoice_chars_max: size(invoice::CHARS_MAX),
        concurrent_streams_max: count(limits.concurrent_streams_max),
        open_payments_max: large(limits.open_payments_max),
    }
}
