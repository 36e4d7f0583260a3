//! Answers as JSON (API.md 3): proto field names, 64-bit integers as decimal strings, enums in
//! lower case without their prefix, times in RFC 3339, unset fields absent.

use fulgurite_proto::fulgurite::v1;
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::{
    json_write::{Field, Json, Object, write},
    time,
};

impl Object {
    fn put(self, name: &'static str, value: impl Field) -> Object {
        self.with(name, |text| value.write(text))
    }

    /// Absent when empty.
    fn text(self, name: &'static str, value: &str) -> Object {
        if value.is_empty() { self } else { self.put(name, value) }
    }

    /// 64 bits do not fit a JavaScript number.
    fn large(self, name: &'static str, value: i64) -> Object {
        self.with(name, |text| write(text, format_args!("\"{value}\"")))
    }

    fn time(self, name: &'static str, value: Option<&Timestamp>) -> Object {
        match value {
            Some(stamp) => self.with(name, |text| {
                text.push('"');
                time::write(stamp, text);
                text.push('"');
            }),
            None => self,
        }
    }

    /// Absent when unset.
    fn maybe(self, name: &'static str, value: Option<impl Field>) -> Object {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    /// Absent when zero.
    fn number(self, name: &'static str, value: i32) -> Object {
        if value == 0 { self } else { self.put(name, value) }
    }

    /// An enum's value by its proto name, such as `STATE_RUNNING`; absent when unspecified.
    fn word(self, name: &'static str, proto_name: &str, prefix: &str) -> Object {
        let word = proto_name.trim_start_matches(prefix);
        if word == "UNSPECIFIED" {
            return self;
        }
        self.with(name, |text| {
            text.push('"');
            text.extend(word.chars().map(|char| char.to_ascii_lowercase()));
            text.push('"');
        })
    }
}

/// A payment.
pub fn payment(payment: &v1::Payment) -> Json {
    let bolt11 = match &payment.destination {
        Some(v1::payment::Destination::Bolt11(invoice)) => invoice.as_str(),
        None => "",
    };
    let attempts: Vec<Json> = payment.attempts.iter().map(attempt).collect();
    Object::new()
        .text("payment_id", &payment.payment_id)
        .text("batch_id", &payment.batch_id)
        .number("row", payment.row)
        .text("reference", &payment.reference)
        .word("state", payment.state().as_str_name(), "STATE_")
        .text("bolt11", bolt11)
        .text("payment_hash", &payment.payment_hash)
        .large("amount_msat", payment.amount_msat)
        .large("fee_limit_msat", payment.fee_limit_msat)
        .large("fee_msat", payment.fee_msat)
        .text("preimage", &payment.preimage)
        .maybe("failure", payment.failure.as_ref().map(failure))
        .text("node", &payment.node)
        .put("attempt_count", payment.attempt_count)
        .maybe("attempts", (!attempts.is_empty()).then_some(attempts))
        .time("create_time", payment.create_time.as_ref())
        .time("first_attempt_time", payment.first_attempt_time.as_ref())
        .time("finish_time", payment.finish_time.as_ref())
        .time("update_time", payment.update_time.as_ref())
        .time("deadline", payment.deadline.as_ref())
        .time("outcome_unknown_since", payment.outcome_unknown_since.as_ref())
        .number("htlc_expiry_height", payment.htlc_expiry_height)
        .large("version", payment.version)
        .done()
}

/// Why a payment failed.
pub fn failure(failure: &v1::Failure) -> Json {
    Object::new()
        .word("reason", failure.reason().as_str_name(), "REASON_")
        .text("message", &failure.message)
        .text("node_code", &failure.node_code)
        .put("same_invoice_may_succeed", failure.same_invoice_may_succeed)
        .done()
}

/// An attempt.
pub fn attempt(attempt: &v1::Attempt) -> Json {
    Object::new()
        .put("number", attempt.number)
        .text("node", &attempt.node)
        .time("start_time", attempt.start_time.as_ref())
        .time("end_time", attempt.end_time.as_ref())
        .text("node_code", &attempt.node_code)
        .large("fee_msat", attempt.fee_msat)
        .done()
}

/// A batch.
pub fn batch(batch: &v1::Batch) -> Json {
    let metadata = (!batch.metadata.is_empty()).then(|| json!(batch.metadata));
    Object::new()
        .text("batch_id", &batch.batch_id)
        .text("idempotency_key", &batch.idempotency_key)
        .word("state", batch.state().as_str_name(), "STATE_")
        .word("pause_reason", batch.pause_reason().as_str_name(), "PAUSE_REASON_")
        .maybe("options", batch.options.as_ref().map(options))
        .text("description", &batch.description)
        .maybe("metadata", metadata)
        .maybe("counts", batch.counts.as_ref().map(counts))
        .large("amount_msat", batch.amount_msat)
        .large("fee_limit_msat", batch.fee_limit_msat)
        .large("amount_succeeded_msat", batch.amount_succeeded_msat)
        .large("fee_msat", batch.fee_msat)
        .time("create_time", batch.create_time.as_ref())
        .time("update_time", batch.update_time.as_ref())
        .time("finish_time", batch.finish_time.as_ref())
        .time("cancel_request_time", batch.cancel_request_time.as_ref())
        .text("fingerprint", &batch.fingerprint)
        .large("version", batch.version)
        .put("single", batch.single)
        .done()
}

/// How many orders are in which state.
pub fn counts(counts: &v1::Counts) -> Json {
    Object::new()
        .put("order_count", counts.order_count)
        .put("refused_count", counts.refused_count)
        .put("queued_count", counts.queued_count)
        .put("in_flight_count", counts.in_flight_count)
        .put("unresolved_count", counts.unresolved_count)
        .put("succeeded_count", counts.succeeded_count)
        .put("failed_count", counts.failed_count)
        .put("cancelled_count", counts.cancelled_count)
        .done()
}

/// The options of a batch.
pub fn options(options: &v1::BatchOptions) -> Json {
    Object::new()
        .maybe("start_paused", options.start_paused)
        .maybe("accept_valid", options.accept_valid)
        .word("priority", options.priority().as_str_name(), "PRIORITY_")
        .maybe("in_flight_max", options.in_flight_max)
        .maybe("payments_per_second_max", options.payments_per_second_max)
        .maybe("per_destination_in_flight_max", options.per_destination_in_flight_max)
        .maybe("failed_count_max", options.failed_count_max)
        .maybe("failed_percent_max", options.failed_percent_max)
        .maybe("fee_policy", options.fee_policy.as_ref().map(fee_policy))
        .time("deadline", options.deadline.as_ref())
        .maybe("attempts_max", options.attempts_max)
        .maybe("cltv_limit_blocks", options.cltv_limit_blocks)
        .done()
}

/// What a payment may pay in fees.
pub fn fee_policy(policy: &v1::FeePolicy) -> Json {
    Object::new()
        .large("base_msat", policy.base_msat)
        .put("proportional_ppm", policy.proportional_ppm)
        .done()
}

/// A page of items; the token is absent at the end.
pub fn page(name: &'static str, items: Vec<Json>, next_page_token: &str) -> Json {
    Object::new().put(name, items).text("next_page_token", next_page_token).done()
}

/// A refused row.
pub fn refused_row(row: &v1::RefusedRow) -> Json {
    Object::new()
        .put("row", row.row)
        .text("reference", &row.reference)
        .word("reason", row.reason().as_str_name(), "REASON_")
        .text("message", &row.message)
        .text("field", &row.field)
        .text("payment_id", &row.payment_id)
        .number("other_row", row.other_row)
        .done()
}

/// An event.
pub fn event(event: &v1::Event) -> Json {
    let object = Object::new()
        .text("event_id", &event.event_id)
        .time("time", event.time.as_ref())
        .text("type", &event.r#type);
    match &event.object {
        Some(v1::event::Object::Payment(changed)) => object.put("payment", payment(changed)),
        Some(v1::event::Object::Batch(changed)) => object.put("batch", batch(changed)),
        None => object,
    }
    .done()
}

/// A node.
pub fn node(node: &v1::Node) -> Json {
    Object::new()
        .text("name", &node.name)
        .text("address", &node.address)
        .text("identity_pubkey", &node.identity_pubkey)
        .text("alias", &node.alias)
        .text("version", &node.version)
        .put("connected", node.connected)
        .text("problem", &node.problem)
        .word("breaker", node.breaker().as_str_name(), "BREAKER_")
        .put("window", node.window)
        .put("in_flight_count", node.in_flight_count)
        .put("queued_count", node.queued_count)
        .put("active_channel_count", node.active_channel_count)
        .large("spendable_msat", node.spendable_msat)
        .large("clock_offset_ms", node.clock_offset_ms)
        .put("block_height", node.block_height)
        .put("draining", node.draining)
        .word("quarantine", node.quarantine().as_str_name(), "QUARANTINE_")
        .maybe("contradicted_payment_ids", ids(&node.contradicted_payment_ids))
        .done()
}

/// What became of the payments of a lost node.
pub fn node_resolved(resolved: &v1::ResolveNodeResponse) -> Json {
    Object::new()
        .put("payment_count", resolved.payment_count)
        .large("amount_msat", resolved.amount_msat)
        .maybe("left_payment_ids", ids(&resolved.left_payment_ids))
        .done()
}

fn ids(ids: &[String]) -> Option<Value> {
    (!ids.is_empty()).then(|| json!(ids))
}

/// The engine.
pub fn engine(engine: &v1::Engine) -> Json {
    let reasons = &engine.not_ready_reasons;
    Object::new()
        .text("version", &engine.version)
        .text("network", &engine.network)
        .put("ready", engine.ready)
        .maybe("not_ready_reasons", (!reasons.is_empty()).then(|| json!(reasons)))
        .maybe("limits", engine.limits.as_ref().map(limits))
        .maybe("default_options", engine.default_options.as_ref().map(options))
        .put("node_count", engine.node_count)
        .put("connected_node_count", engine.connected_node_count)
        .text("verify_signatures", &engine.verify_signatures)
        .done()
}

/// Every limit at the door.
pub fn limits(limits: &v1::Limits) -> Json {
    Object::new()
        .put("batch_order_count_max", limits.batch_order_count_max)
        .put("message_order_count_max", limits.message_order_count_max)
        .put("message_bytes_max", limits.message_bytes_max)
        .large("payment_amount_msat_max", limits.payment_amount_msat_max)
        .large("batch_amount_msat_max", limits.batch_amount_msat_max)
        .put("final_cltv_delta_max", limits.final_cltv_delta_max)
        .put("invoice_expiry_margin_seconds", limits.invoice_expiry_margin_seconds)
        .large("fee_limit_base_msat_max", limits.fee_limit_base_msat_max)
        .put("fee_limit_ppm_max", limits.fee_limit_ppm_max)
        .put("upload_idle_seconds_max", limits.upload_idle_seconds_max)
        .put("upload_seconds_max", limits.upload_seconds_max)
        .put("page_size_max", limits.page_size_max)
        .put("reference_bytes_max", limits.reference_bytes_max)
        .put("invoice_chars_max", limits.invoice_chars_max)
        .put("concurrent_streams_max", limits.concurrent_streams_max)
        .large("open_payments_max", limits.open_payments_max)
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_is_written_by_the_rules() {
        let message = v1::Payment {
            payment_id: "pay_1".into(),
            state: v1::payment::State::InFlight.into(),
            amount_msat: i64::MAX,
            create_time: Some(Timestamp { seconds: 0, nanos: 1_000_000 }),
            failure: Some(v1::Failure {
                reason: v1::failure::Reason::NoRoute.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let expected = json!({
            "payment_id": "pay_1",
            "state": "in_flight",
            "amount_msat": "9223372036854775807",
            "fee_limit_msat": "0",
            "fee_msat": "0",
            "attempt_count": 0,
            "create_time": "1970-01-01T00:00:00.001000Z",
            "failure": {"reason": "no_route", "same_invoice_may_succeed": false},
            "version": "0",
        });
        assert_eq!(payment(&message).to_string(), expected.to_string());
    }

    #[test]
    fn unset_values_of_a_batch_are_absent() {
        let value = batch(&v1::Batch { batch_id: "bat_1".into(), ..Default::default() }).value();
        for absent in ["state", "pause_reason", "options", "description", "finish_time"] {
            assert_eq!(value.get(absent), None, "{absent}");
        }
    }
}
