//! Judges the rows of one upload against each other, in their order.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use fulgurite_core::{
    Msat, Order, PaymentHash,
    order::{RefusedRow, RowReason},
};

use super::{CheckedRow, row::Problem};
use crate::fingerprint::Fingerprint;

/// What was found in a chunk of rows.
#[derive(Debug, Default)]
pub struct Sorted {
    /// The good rows, growing.
    pub orders: Vec<(u32, Arc<Order>)>,
    /// Every problem of the others.
    pub refused: Vec<RefusedRow>,
}

/// The rows of one upload so far: what is needed to judge the next ones.
pub struct UploadCheck {
    fingerprint: Fingerprint,
    amount_max: Msat,
    amount: Msat,
    fee_limit: Msat,
    rows: u32,
    hashes: HashMap<PaymentHash, u32>,
    references: HashMap<Arc<str>, u32>,
}

impl UploadCheck {
    /// An upload without rows. `amount_max` is the most that a batch may pay.
    pub fn new(fingerprint: Fingerprint, amount_max: Msat) -> UploadCheck {
        UploadCheck {
            fingerprint,
            amount_max,
            amount: Msat::ZERO,
            fee_limit: Msat::ZERO,
            rows: 0,
            hashes: HashMap::new(),
            references: HashMap::new(),
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The fingerprint of header and rows.
    pub fn fingerprint(self) -> [u8; 32] {
        self.fingerprint.finish()
    }

    /// Takes the next rows.
    pub fn take(&mut self, rows: Vec<CheckedRow>) -> Sorted {
        let mut sorted = Sorted::default();
        for checked in rows {
            self.rows += 1;
            self.fingerprint.add(&checked.fingerprint);
            let mut refused = self.duplicates(&checked);
            match checked.verdict {
                Ok(order) if refused.is_empty() => match self.sum(&order) {
                    Some((amount, fee_limit)) => {
                        (self.amount, self.fee_limit) = (amount, fee_limit);
                        sorted.orders.push((self.rows, Arc::new(order)));
                    }
                    None => {
                        let problem = self.too_much(&order);
                        refused.push(problem.of_row(self.rows, checked.reference.as_ref()));
                    }
                },
                Ok(_) => {}
                Err(problems) => refused.extend(
                    problems.into_iter().map(|p| p.of_row(self.rows, checked.reference.as_ref())),
                ),
            }
            sorted.refused.append(&mut refused);
        }
        sorted
    }

    /// The sums with this order, or `None` above the batch's limit.
    fn sum(&self, order: &Order) -> Option<(Msat, Msat)> {
        let amount = self.amount.checked_add(order.amount)?;
        let fee_limit = self.fee_limit.checked_add(order.fee_limit)?;
        (amount <= self.amount_max).then_some((amount, fee_limit))
    }

    fn too_much(&self, order: &Order) -> Problem {
        Problem {
            reason: RowReason::BatchAboveLimit,
            field: "amount_msat",
            message: format!(
                "with this row's {} the batch would be above its limit of {}",
                order.amount, self.amount_max
            ),
        }
    }

    fn duplicates(&mut self, checked: &CheckedRow) -> Vec<RefusedRow> {
        let mut refused = Vec::new();
        let row = self.rows;
        let mut refuse = |reason, field, (what, other): (&str, u32)| {
            let message = format!("row {other} has the same {what}; remove one of them");
            let problem = Problem { reason, field, message };
            let found = problem.of_row(row, checked.reference.as_ref());
            refused.push(RefusedRow { other_row: Some(other), ..found });
        };
        if let Some(hash) = checked.payment_hash {
            match self.hashes.entry(hash) {
                Entry::Occupied(other) => {
                    refuse(RowReason::DuplicateHash, "bolt11", ("payment hash", *other.get()));
                }
                Entry::Vacant(free) => {
                    free.insert(row);
                }
            }
        }
        if let Some(reference) = &checked.reference {
            match self.references.entry(Arc::clone(reference)) {
                Entry::Occupied(other) => {
                    let what = ("reference", *other.get());
                    refuse(RowReason::DuplicateReference, "reference", what);
                }
                Entry::Vacant(free) => {
                    free.insert(row);
                }
            }
        }
        refused
    }
}
