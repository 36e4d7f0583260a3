//! Judges one order by itself.

use std::sync::Arc;

use fulgurite_core::{
    Msat, Order, PaymentHash, UnixMs,
    order::{RefusedRow, RowReason, Sealed},
};
use fulgurite_proto::fulgurite::v1::{
    PaymentOrder,
    payment_order::{Amount, Destination},
};

use super::{
    OwnNodes, Rules, Terms,
    invoice::{Facts, Reader},
};
use crate::{fingerprint, wire::time};

/// The most bytes of a reference.
pub const REFERENCE_BYTES_MAX: usize = 255;

/// One row after the checks that need no other row.
#[derive(Clone, Debug)]
pub struct CheckedRow {
    /// Its part of the fingerprint.
    pub fingerprint: [u8; 32],
    /// The client's reference, when it is one.
    pub reference: Option<Arc<str>>,
    /// The invoice's payment hash, when it could be read.
    pub payment_hash: Option<PaymentHash>,
    /// The order, or every problem of the row.
    pub verdict: Result<Order, Vec<Problem>>,
}

/// One problem of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub reason: RowReason,
    /// The field of the order.
    pub field: &'static str,
    /// The same for a person.
    pub message: String,
}

impl Problem {
    /// The problem as a refused row.
    pub fn of_row(self, row: u32, reference: Option<&Arc<str>>) -> RefusedRow {
        RefusedRow {
            row,
            reference: reference.map(|text| Sealed::plain(text)),
            reason: self.reason,
            message: self.message.into(),
            field: self.field,
            payment: None,
            other_row: None,
        }
    }
}

/// Judges orders one by one.
pub struct Judge {
    /// What they are judged by.
    pub rules: Arc<Rules>,
    /// Invoices to these are refused.
    pub own_nodes: OwnNodes,
    /// Reads the invoices.
    pub reader: Reader,
}

impl Judge {
    /// Judges one order.
    pub fn check(&self, order: &PaymentOrder, terms: &Terms) -> CheckedRow {
        let mut problems = Problems::default();
        let reference = reference(order, &mut problems);
        let deadline = deadline(order, terms, &mut problems);
        let facts = self.invoice(order, &mut problems);
        let payment_hash = facts.as_ref().map(|facts| facts.payment_hash);
        let order_found = facts.and_then(|facts| {
            self.check_facts(&facts, terms, &mut problems);
            let amount = self.amount(order, &facts, &mut problems)?;
            let fee_limit = self.fee_limit(order, amount, (terms, &mut problems))?;
            Some(Order {
                invoice: facts.text.into(),
                payment_hash: facts.payment_hash,
                payee: facts.payee,
                amount,
                amount_in_send: facts.amount.is_none(),
                fee_limit,
                invoice_expiry: facts.expiry,
                deadline,
                reference: reference.as_deref().map(Sealed::plain),
            })
        });
        let verdict = match order_found {
            Some(order) if problems.0.is_empty() => Ok(order),
            Some(_) | None => Err(problems.0),
        };
        CheckedRow { fingerprint: fingerprint::of_order(order), reference, payment_hash, verdict }
    }

    fn invoice(&self, order: &PaymentOrder, problems: &mut Problems) -> Option<Facts> {
        let destination = order.destination.as_ref();
        let set = destination.filter(|Destination::Bolt11(text)| !text.is_empty());
        let Some(Destination::Bolt11(text)) = set else {
            let message = "no destination, or one of a kind that this engine does not know";
            problems.add(RowReason::UnsupportedDestination, "destination", message);
            return None;
        };
        match self.reader.read(text) {
            Ok(facts) => Some(facts),
            Err(bad) => {
                problems.add(bad.reason, "bolt11", bad.message);
                None
            }
        }
    }

    fn check_facts(&self, facts: &Facts, terms: &Terms, problems: &mut Problems) {
        let margin = self.rules.limits.expiry_margin;
        let margin_ms = i64::try_from(margin.as_millis()).unwrap_or(i64::MAX);
        if facts.expiry <= terms.now {
            let message = format!("the invoice expired at {}", time::text(facts.expiry));
            problems.add(RowReason::Expired, "bolt11", message);
        } else if facts.expiry <= terms.now.plus_ms(margin_ms) {
            let message = format!(
                "the invoice expires at {}, sooner than in {} s; ask the payee for a new one",
                time::text(facts.expiry),
                margin.as_secs()
            );
            problems.add(RowReason::ExpiresTooSoon, "bolt11", message);
        }
        let delta_max = self.rules.limits.final_cltv_delta_max;
        if facts.final_cltv_delta > u64::from(delta_max) {
            let message = format!(
                "the invoice asks for a final CLTV delta of {} blocks; at most {delta_max} are \
                 allowed",
                facts.final_cltv_delta
            );
            problems.add(RowReason::CltvTooLong, "bolt11", message);
        }
        if facts.payee.is_some_and(|payee| self.own_nodes.contains(&payee)) {
            let message = "the payee is one of this engine's own nodes";
            problems.add(RowReason::OwnInvoice, "bolt11", message);
        }
    }

    fn amount(&self, order: &PaymentOrder, facts: &Facts, problems: &mut Problems) -> Option<Msat> {
        let ordered = match order.amount {
            None => None,
            Some(Amount::AmountMsat(msat)) => match msat_of(msat).filter(|msat| msat.get() > 0) {
                Some(amount) => Some(amount),
                None => {
                    let message = format!("amount_msat is {msat}; it must be at least 1");
                    problems.add(RowReason::Malformed, "amount_msat", message);
                    return None;
                }
            },
        };
        let amount = match (ordered, facts.amount) {
            (Some(ordered), Some(invoiced)) if ordered != invoiced => {
                let message = format!(
                    "amount_msat is {}, the invoice asks for {}; leave amount_msat out",
                    ordered.get(),
                    invoiced.get()
                );
                problems.add(RowReason::AmountConflict, "amount_msat", message);
                return None;
            }
            (Some(amount), _) | (None, Some(amount)) => amount,
            (None, None) => {
                let message = "the invoice has no amount; set amount_msat";
                problems.add(RowReason::AmountMissing, "amount_msat", message);
                return None;
            }
        };
        let limit = self.rules.limits.payment_amount_max;
        if amount > limit {
            let message = format!("{amount} is above the limit of one payment, {limit}");
            problems.add(RowReason::AmountAboveLimit, "amount_msat", message);
        }
        Some(amount)
    }

    fn fee_limit(
        &self,
        order: &PaymentOrder,
        amount: Msat,
        (terms, problems): (&Terms, &mut Problems),
    ) -> Option<Msat> {
        let Some(msat) = order.fee_limit_msat else {
            let limit = terms.fee_policy.limit(amount);
            if terms.fee_policy_chosen {
                self.check_fee_limit(limit, amount, problems);
                return Some(limit);
            }
            // The engine's own policy is no reason to refuse an order: it gives way to the rule.
            return Some(limit.min(self.fee_limit_max(amount)));
        };
        let Some(limit) = msat_of(msat) else {
            let message = format!("fee_limit_msat is {msat}; it must be at least 0");
            problems.add(RowReason::Malformed, "fee_limit_msat", message);
            return None;
        };
        self.check_fee_limit(limit, amount, problems);
        Some(limit)
    }

    /// The highest fee limit that this amount may have.
    fn fee_limit_max(&self, amount: Msat) -> Msat {
        let limits = &self.rules.limits;
        limits.fee_limit_floor.max(amount.parts_per_million(limits.fee_limit_ppm_max))
    }

    fn check_fee_limit(&self, limit: Msat, amount: Msat, problems: &mut Problems) {
        let most = self.fee_limit_max(amount);
        if limit > most {
            let message = format!("a fee limit of {limit} for {amount}; at most {most} is allowed");
            problems.add(RowReason::FeeLimitTooHigh, "fee_limit_msat", message);
        }
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, reason: RowReason, field: &'static str, message: impl Into<String>) {
        self.0.push(Problem { reason, field, message: message.into() });
    }
}

fn msat_of(msat: i64) -> Option<Msat> {
    u64::try_from(msat).ok().and_then(|msat| Msat::new(msat).ok())
}

fn reference(order: &PaymentOrder, problems: &mut Problems) -> Option<Arc<str>> {
    let bytes = order.reference.len();
    if bytes > REFERENCE_BYTES_MAX {
        let message = format!("the reference has {bytes} bytes; at most {REFERENCE_BYTES_MAX}");
        problems.add(RowReason::Malformed, "reference", message);
        return None;
    }
    (bytes > 0).then(|| order.reference.as_str().into())
}

fn deadline(order: &PaymentOrder, terms: &Terms, problems: &mut Problems) -> Option<UnixMs> {
    let stamp = order.deadline.as_ref()?;
    let Some(deadline) = time::from_proto(stamp) else {
        problems.add(RowReason::Malformed, "deadline", "the deadline is not a time");
        return None;
    };
    if deadline <= terms.now {
        let message = format!("the deadline passed at {}", time::text(deadline));
        problems.add(RowReason::DeadlinePast, "deadline", message);
    }
    Some(deadline)
}
