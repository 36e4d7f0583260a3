//! What follows an attempt that is over: another one, later, or the end of the payment.

#[cfg(test)]
mod tests;

use crate::{
    event::{Failure, NeverSent, Next},
    id::PaymentId,
    order::Order,
    port::FailureReason,
    time::UnixMs,
};

/// How long to wait before another attempt, and when none may start any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait before the second attempt, in milliseconds; it doubles with each attempt.
    pub backoff_ms_first: i64,
    /// The longest wait, in milliseconds.
    pub backoff_ms_max: i64,
    /// No attempt starts in the last milliseconds of an invoice's life.
    pub expiry_margin_ms: i64,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy { backoff_ms_first: 250, backoff_ms_max: 30_000, expiry_margin_ms: 15_000 }
    }
}

/// What the batch says about each of its payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The most attempts, at least 1.
    pub attempts_max: u16,
    /// No attempt starts after it.
    pub deadline: Option<UnixMs>,
    /// The batch is being cancelled: nothing is tried again.
    pub cancelling: bool,
    /// The waits.
    pub retry: RetryPolicy,
}

impl Terms {
    /// The last moment at which an attempt may start, and what the payment fails with after it.
    pub fn start_until(&self, order: &Order) -> (UnixMs, Failure) {
        let expiry = order.invoice_expiry.plus_ms(-self.retry.expiry_margin_ms);
        let deadline = match (order.deadline, self.deadline) {
            (Some(own), Some(batch)) => Some(own.min(batch)),
            (own, batch) => own.or(batch),
        };
        match deadline {
            Some(deadline) if deadline <= expiry => (deadline, Failure::DeadlinePassed),
            Some(_) | None => (expiry, Failure::InvoiceExpired),
        }
    }

    /// What follows a failed attempt.
    pub fn after_failure(
        &self,
        payment: PaymentId,
        order: &Order,
        over: Over<FailureReason>,
        now: UnixMs,
    ) -> Next {
        if over.why == FailureReason::IncorrectPaymentDetails {
            return Next::Failed(Failure::RecipientRefused);
        }
        if self.cancelling {
            return Next::Failed(Failure::CancelRequested);
        }
        self.again(payment, order, over, now, exhausted(over.why))
    }

    /// What follows an attempt that was never sent.
    pub fn after_never_sent(
        &self,
        payment: PaymentId,
        order: &Order,
        over: Over<NeverSent>,
        now: UnixMs,
    ) -> Next {
        match over.why {
            NeverSent::InvoiceExpired => Next::Failed(Failure::InvoiceExpired),
            NeverSent::SelfPayment | NeverSent::Invalid => Next::Failed(Failure::NodeRefused),
            NeverSent::Withdrawn | NeverSent::NotDelivered if self.cancelling => Next::Cancelled,
            NeverSent::Withdrawn | NeverSent::NotDelivered => {
                self.again(payment, order, over, now, Failure::AttemptsExhausted)
            }
        }
    }

    fn again<T>(
        &self,
        payment: PaymentId,
        order: &Order,
        over: Over<T>,
        now: UnixMs,
        exhausted: Failure,
    ) -> Next {
        if over.counted >= self.attempts_max {
            return Next::Failed(exhausted);
        }
        let not_before = now.plus_ms(self.backoff_ms(payment, over.made));
        let (until, too_late) = self.start_until(order);
        if not_before > until { Next::Failed(too_late) } else { Next::Retry { not_before } }
    }

    /// The wait after `attempts` attempts: doubling, with up to a quarter less by the payment's
    /// id, so that payments that failed together do not return together.
    fn backoff_ms(&self, payment: PaymentId, attempts: u16) -> i64 {
        let doublings = u32::from(attempts.saturating_sub(1)).min(30);
        let full = self.retry.backoff_ms_first.saturating_mul(1 << doublings);
        let full = full.min(self.retry.backoff_ms_max);
        // A multiplicative hash: neighbouring rows get far-apart shares.
        let spread = (payment.as_u128() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        full - full * i64::try_from(spread).expect("10 bits fit") / 4096
    }
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug)]
pub struct Over<T> {
    /// Why it is over.
    pub why: T,
    /// How many attempts count towards the most that are allowed, this one included.
    pub counted: u16,
    /// How many attempts were made, this one included.
    pub made: u16,
}

/// What a payment fails with when its last attempt failed with `reason`.
fn exhausted(reason: FailureReason) -> Failure {
    match reason {
        FailureReason::NoRoute => Failure::NoRoute,
        FailureReason::InsufficientBalance => Failure::InsufficientLiquidity,
        FailureReason::IncorrectPaymentDetails => Failure::RecipientRefused,
        FailureReason::Unknown
        | FailureReason::Timeout
        | FailureReason::Error
        | FailureReason::Canceled => Failure::AttemptsExhausted,
    }
}
