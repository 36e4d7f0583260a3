//! Shows a journal's events, one JSON object per line. Preimages are proofs of payment and never
//! shown; invoices tell who was paid for what and are shown only when asked for.

use std::{
    io::{self, Write},
    ops::RangeInclusive,
    path::Path,
};

use fulgurite_core::{
    Event, Lsn, Order, PaymentId,
    event::{AttemptStarted, Next, PaymentChange, Verdict},
    order::{Accepted, RefusedRow, Sealed},
    standing::NodeChange,
};
use serde_json::{Map, Value, json};

use crate::{
    anchor::{self, Anchor},
    reader::{Damaged, Groups},
    store::{Store, StoreError},
    views::ViewFault,
};

/// What is shown.
#[derive(Clone, Debug)]
pub struct DumpOptions {
    /// These events.
    pub lsns: RangeInclusive<Lsn>,
    /// Invoices and what clients wrote too, not only payment hashes.
    pub with_content: bool,
}

impl Default for DumpOptions {
    fn default() -> DumpOptions {
        DumpOptions { lsns: 0..=Lsn::MAX, with_content: false }
    }
}

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The journal does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What retention wrote down cannot be read.
    #[error("what retention wrote down")]
    Retention(#[source] ViewFault),
    /// From here on it cannot be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The lines cannot be written.
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
}

/// Writes the events of a stopped or copied journal to `out`. What retention removed of those that
/// were asked for is answered; `None` when it is nothing.
pub fn dump(
    folder: &Path,
    options: &DumpOptions,
    out: &mut impl Write,
) -> Result<Option<Anchor>, DumpError> {
    let store = Store::open_read_only(folder)?;
    let anchor = anchor::read(&store).map_err(DumpError::Retention)?;
    let from = *options.lsns.start();
    let removed = anchor.filter(|anchor| from <= anchor.position.lsn);
    let groups = match removed {
        // Records up to there may still be in place, with gaps.
        Some(anchor) => Groups::after(&store, anchor.position, None),
        None => Groups::holding(&store, from),
    };
    for group in groups {
        let group = group?;
        if group.first_lsn > *options.lsns.end() {
            break;
        }
        for (lsn, event) in group.numbered().filter(|(lsn, _)| options.lsns.contains(lsn)) {
            let mut line = event_json(event, options.with_content);
            line.insert("lsn".to_owned(), json!(lsn));
            line.insert("epoch".to_owned(), json!(group.epoch));
            serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(removed)
}

/// One event as a JSON object without its number.
pub fn event_json(event: &Event, with_content: bool) -> Map<String, Value> {
    let value = match event {
        Event::EngineStarted { epoch, time, version } => {
            let event = "engine_started";
            json!({ "event": event, "epoch": epoch, "time_ms": time, "version": version })
        }
        Event::OrdersAdded { batch, orders } => {
            let orders = orders.iter().map(|(row, order)| order_json(*row, order, with_content));
            let orders: Vec<Value> = orders.collect();
            json!({ "event": "orders_added", "batch": batch.to_string(), "orders": orders })
        }
        Event::BatchAccepted(accepted) => accepted_json(accepted, with_content),
        Event::UploadDropped { batch } => {
            json!({ "event": "upload_dropped", "batch": batch.to_string() })
        }
        Event::BatchPaused { batch, reason, time } => json!({
            "event": "batch_paused", "batch": batch.to_string(), "time_ms": time,
            "reason": name(reason),
        }),
        Event::BatchResumed { batch, time } => {
            json!({ "event": "batch_resumed", "batch": batch.to_string(), "time_ms": time })
        }
        Event::BatchCancelRequested { batch, time } => {
            let event = "batch_cancel_requested";
            json!({ "event": event, "batch": batch.to_string(), "time_ms": time })
        }
        Event::BatchFinished { batch, time } => {
            json!({ "event": "batch_finished", "batch": batch.to_string(), "time_ms": time })
        }
        Event::Payment { payment, time, change } => {
            let mut value = change_json(*payment, change, with_content);
            value["time_ms"] = json!(time);
            value
        }
        Event::PaymentsCancelled { batch, rows, time } => json!({
            "event": "payments_cancelled", "batch": batch.to_string(), "rows": **rows,
            "time_ms": time,
        }),
        Event::Node { node, time, change } => {
            let mut value = node_json(change, with_content);
            value["node"] = json!(node);
            value["time_ms"] = json!(time);
            value
        }
        Event::Barrier => json!({ "event": "barrier" }),
        Event::SendBounds(bounds) => json!({
            "event": "send_bounds", "expiry_ms": bounds.expiry_ms, "deadline_ms": bounds.deadline_ms,
        }),
        Event::Installed { installation } => {
            json!({ "event": "installed", "installation": installation })
        }
        Event::NodeCompared { node, until, live } => {
            json!({ "event": "node_compared", "node": node, "until_ms": until, "live": live })
        }
        Event::PaidElsewhere { node, hashes, time } => {
            let hashes: Vec<String> = hashes.iter().map(ToString::to_string).collect();
            let event = "paid_elsewhere";
            json!({ "event": event, "node": node, "payment_hashes": hashes, "time_ms": time })
        }
        Event::NotAlone { node, epoch, time } => {
            json!({ "event": "not_alone", "node": node, "other_epoch": epoch, "time_ms": time })
        }
        Event::TakenOver { time } => json!({ "event": "taken_over", "time_ms": time }),
    };
    object(value)
}

fn change_json(payment: PaymentId, change: &PaymentChange, with_content: bool) -> Value {
    let mut value = match change {
        PaymentChange::AttemptStarted(attempt) => attempt_json(attempt),
        PaymentChange::AttemptSettled { attempt, preimage: _, fee_paid } => {
            json!({ "event": "attempt_settled", "attempt": attempt, "fee_paid_msat": fee_paid })
        }
        PaymentChange::AttemptFailed { attempt, reason, next } => json!({
            "event": "attempt_failed", "attempt": attempt, "reason": name(reason),
            "next": next_json(next),
        }),
        PaymentChange::AttemptNeverSent { attempt, cause, next } => json!({
            "event": "attempt_never_sent", "attempt": attempt, "cause": name(cause),
            "next": next_json(next),
        }),
        PaymentChange::Failed(failure) => {
            json!({ "event": "payment_failed", "reason": name(failure) })
        }
        PaymentChange::Cancelled => json!({ "event": "payment_cancelled" }),
        PaymentChange::AttemptStuck { attempt } => {
            json!({ "event": "attempt_stuck", "attempt": attempt })
        }
        PaymentChange::AttemptConfirmed { attempt } => {
            json!({ "event": "attempt_confirmed", "attempt": attempt })
        }
        PaymentChange::AttemptSuspended { attempt } => {
            json!({ "event": "attempt_suspended", "attempt": attempt })
        }
        PaymentChange::Contradicted { attempt, contradiction } => json!({
            "event": "contradicted", "attempt": attempt, "contradiction": name(contradiction),
        }),
        PaymentChange::Resolved(resolution) => {
            let paid = matches!(resolution.verdict, Verdict::Paid(_));
            let mut value = json!({ "event": "resolved", "paid": paid });
            if with_content {
                value["by"] = json!(text(&resolution.by));
                value["reason"] = json!(text(&resolution.reason));
            }
            value
        }
    };
    value["payment"] = json!(payment.to_string());
    value
}

fn node_json(change: &NodeChange, with_content: bool) -> Value {
    let written = |sealed| with_content.then(|| text(sealed));
    match change {
        NodeChange::Identified { identity_pubkey } => {
            json!({ "event": "node_identified", "identity_pubkey": hex::encode(identity_pubkey) })
        }
        NodeChange::Quarantined(why) => json!({ "event": "node_quarantined", "why": name(why) }),
        NodeChange::Trusted { identity_pubkey, by, checked } => json!({
            "event": "node_trusted", "identity_pubkey": hex::encode(identity_pubkey),
            "by": written(by), "checked": written(checked),
        }),
        NodeChange::Drained { by } => json!({ "event": "node_drained", "by": written(by) }),
        NodeChange::PaidAfterAll(payment) => {
            json!({ "event": "node_paid_after_all", "payment": payment.to_string() })
        }
        NodeChange::Undrained { by } => json!({ "event": "node_undrained", "by": written(by) }),
    }
}

fn attempt_json(attempt: &AttemptStarted) -> Value {
    let channels = attempt.channels.iter().map(|(id, amount)| json!([id.to_string(), amount]));
    json!({
        "event": "attempt_started", "attempt": attempt.attempt, "node": attempt.node,
        "engine_epoch": attempt.epoch, "amount_msat": attempt.amount,
        "fee_limit_msat": attempt.fee_limit, "channels": channels.collect::<Vec<Value>>(),
        "cltv_limit": attempt.cltv_limit, "timeout_seconds": attempt.timeout_seconds,
        "send_until_ms": attempt.send_until,
    })
}

fn next_json(next: &Next) -> Value {
    match next {
        Next::Retry { not_before } => json!({ "retry_not_before_ms": not_before }),
        Next::Failed(failure) => json!({ "failed": name(failure) }),
        Next::Cancelled => json!("cancelled"),
    }
}

fn order_json(row: u32, order: &Order, with_content: bool) -> Value {
    let mut value = json!({
        "row": row, "payment_hash": order.payment_hash.to_string(), "amount_msat": order.amount,
        "fee_limit_msat": order.fee_limit, "amount_in_send": order.amount_in_send,
        "invoice_expiry_ms": order.invoice_expiry, "deadline_ms": order.deadline,
    });
    if with_content {
        value["invoice"] = json!(order.invoice);
        value["payee"] = json!(order.payee.map(hex::encode));
        value["reference"] = json!(order.reference.as_ref().map(text));
    }
    value
}

fn accepted_json(accepted: &Accepted, with_content: bool) -> Value {
    let options = &accepted.options;
    let refused = accepted.refused.iter().map(|refused| refused_json(refused, with_content));
    let mut value = json!({
        "event": "batch_accepted", "batch": accepted.batch.to_string(), "time_ms": accepted.time,
        "account": accepted.account, "idempotency_key": accepted.idempotency_key,
        "fingerprint": hex::encode(accepted.fingerprint), "single": accepted.single,
        "content_digest": accepted.content_digest, "order_count": accepted.order_count,
        "amount_msat": accepted.amount, "fee_limit_msat": accepted.fee_limit,
        "refused": refused.collect::<Vec<Value>>(),
        "options": {
            "start_paused": options.start_paused, "accept_valid": options.accept_valid,
            "priority": name(&options.priority), "in_flight_max": options.in_flight_max,
            "payments_per_second_max": options.payments_per_second_max,
            "per_destination_in_flight_max": options.per_destination_in_flight_max,
            "failed_count_max": options.failed_count_max,
            "failed_percent_max": options.failed_percent_max,
            "fee_base_msat": options.fee_policy.base,
            "fee_proportional_ppm": options.fee_policy.proportional_ppm,
            "deadline_ms": options.deadline, "attempts_max": options.attempts_max,
            "cltv_limit_blocks": options.cltv_limit_blocks,
        },
    });
    if with_content {
        value["description"] = json!(accepted.description.as_ref().map(text));
        let pairs = accepted.metadata.iter().map(|(key, value)| (text(key), json!(text(value))));
        value["metadata"] = Value::Object(pairs.collect());
    }
    value
}

fn refused_json(refused: &RefusedRow, with_content: bool) -> Value {
    let mut value = json!({
        "row": refused.row, "reason": name(&refused.reason), "field": refused.field,
        "payment": refused.payment.map(|payment| payment.to_string()),
        "other_row": refused.other_row,
    });
    if with_content {
        value["message"] = json!(refused.message);
        value["reference"] = json!(refused.reference.as_ref().map(text));
    }
    value
}

fn text(sealed: &Sealed) -> String {
    match sealed.text() {
        Some(text) => text.to_owned(),
        None => format!("key {}: {}", sealed.key_id, hex::encode(&sealed.bytes)),
    }
}

/// A variant's name in the words of the contract: `NoRoute` becomes `no_route`.
fn name(variant: &impl std::fmt::Debug) -> String {
    let mut name = String::new();
    for letter in format!("{variant:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => Map::from_iter([("event".to_owned(), other)]),
    }
}
