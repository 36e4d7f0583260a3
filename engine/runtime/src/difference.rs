//! The first difference between a batch and a request that reuses its key (API.md, I4).

use std::sync::Arc;

use fulgurite_core::{Order, batch::Summary};

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
    if accepted.options != header.options {
        return "options".to_owned();
    }
    // Values that lead to the same effect but were written otherwise, such as a default.
    "a value that is set in one and unset in the other".to_owned()
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
