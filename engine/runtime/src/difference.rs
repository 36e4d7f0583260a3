//! The first difference between a batch and a request that reuses its key (API.md, I4).

use std::sync::Arc;

use fulgurite_core::{Order, batch::Summary, order::BatchOptions};

use crate::{engine::Engine, upload::Header};

/// Names the first thing that differs, such as `row 17 amount_msat`.
pub fn difference(
    engine: &Engine,
    known: &Summary,
    header: &Header,
    orders: &[(u32, Arc<Order>)],
) -> String {
    let accepted = &known.accepted;
    if accepted.single != header.single {
        return "method".to_owned();
    }
    if accepted.description != header.description {
        return "description".to_owned();
    }
    if accepted.metadata != header.metadata {
        return "metadata".to_owned();
    }
    let stored = engine.orders(accepted.batch);
    for ((row, new), (stored_row, old)) in orders.iter().zip(&stored) {
        if row != stored_row {
            return format!("row {}", row.min(stored_row));
        }
        if let Some(field) = field(old, new) {
            return format!("row {row} {field}");
        }
    }
    if stored.len() != orders.len() {
        return "order_count".to_owned();
    }
    if let Some(option) = option(&accepted.options, &header.options) {
        return format!("options.{option}");
    }
    // Values that lead to the same effect but were written otherwise, such as a default.
    "a value that is set in one and unset in the other".to_owned()
}

/// The first option that differs, by its name in the contract.
fn option(old: &BatchOptions, new: &BatchOptions) -> Option<&'static str> {
    if old == new {
        return None;
    }
    let differs = [
        ("priority", old.priority != new.priority),
        ("in_flight_max", old.in_flight_max != new.in_flight_max),
        ("payments_per_second_max", old.payments_per_second_max != new.payments_per_second_max),
        (
            "per_destination_in_flight_max",
            old.per_destination_in_flight_max != new.per_destination_in_flight_max,
        ),
        ("failed_count_max", old.failed_count_max != new.failed_count_max),
        ("failed_percent_max", old.failed_percent_max != new.failed_percent_max),
        ("attempts_max", old.attempts_max != new.attempts_max),
        ("cltv_limit_blocks", old.cltv_limit_blocks != new.cltv_limit_blocks),
        ("deadline", old.deadline != new.deadline),
        ("accept_valid", old.accept_valid != new.accept_valid),
        ("start_paused", old.start_paused != new.start_paused),
    ];
    Some(differs.iter().find(|(_, differs)| *differs).map_or("fee_policy", |(name, _)| name))
}

fn field(old: &Order, new: &Order) -> Option<&'static str> {
    if old.invoice != new.invoice {
        Some("destination")
    } else if old.amount != new.amount {
        Some("amount_msat")
    } else if old.fee_limit != new.fee_limit {
        Some("fee_limit_msat")
    } else if old.deadline != new.deadline {
        Some("deadline")
    } else if old.reference != new.reference {
        Some("reference")
    } else {
        None
    }
}
