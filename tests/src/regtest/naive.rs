//! The client everybody writes first: so many payments at once, whatever the channels can hold.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fulgurite_proto::lnrpc::payment::PaymentStatus;
use futures::{StreamExt, stream};

use super::node::Node;
use super::rpc::{Invoice, plain_payment};

/// What came of a run of payments.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many succeeded.
    pub succeeded: usize,
    /// How many failed, by lnd's failure reason or, if it refused, by gRPC code and text.
    pub failed: BTreeMap<String, usize>,
    /// From the first send to the last result.
    pub elapsed: Duration,
    /// How long each payment that succeeded took, shortest first.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// Payments that succeeded per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.succeeded as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `percent` percent of the successful payments did not exceed. Zero if none
    /// succeeded.
    #[must_use]
    pub fn latency(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// Pays every invoice once with lnd's own `SendPaymentV2`, `at_once` of them at a time.
pub async fn pay_naively(payer: &Node, invoices: &[Invoice], at_once: usize) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome::default();
    let mut results = stream::iter(invoices)
        .map(|invoice| async move {
            let sent = Instant::now();
            (payer.pay(plain_payment(invoice)).await, sent.elapsed())
        })
        .buffer_unordered(at_once);
    while let Some((result, latency)) = results.next().await {
        let reason = match result {
            Ok(payment) if payment.status() == PaymentStatus::Succeeded => {
                outcome.succeeded += 1;
                outcome.latencies.push(latency);
                continue;
            }
            Ok(payment) => payment.failure_reason().as_str_name().to_owned(),
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        };
        *outcome.failed.entry(reason).or_default() += 1;
    }
    outcome.elapsed = started.elapsed();
    outcome.latencies.sort_unstable();
    outcome
}
