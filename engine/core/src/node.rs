//! One node as the engine sees it: whether it may be used, and how much.

#[cfg(test)]
mod tests;

use crate::{
    breaker::{self, Breaker},
    event::NeverSent,
    port::FailureReason,
    schedule::Rate,
    time::UnixMs,
    tracker::Outcome,
    window::{self, Window},
};

/// The limits of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many payments may be in flight.
    pub window: window::Limits,
    /// When it is left alone.
    pub breaker: breaker::Limits,
    /// The most attempts that start in a second; 0 means no limit.
    pub payments_per_second_max: u32,
}

/// Counts what ended, second by second.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    seconds: [u32; METER_SECONDS as usize],
    /// The last second that is counted.
    last: i64,
}

const METER_SECONDS: i64 = 10;

impl Meter {
    /// Forgets what is older than the meter is long.
    fn advance(&mut self, now: UnixMs) {
        let second = now.0.div_euclid(1_000);
        for passed in (self.last + 1).max(second - METER_SECONDS + 1)..=second {
            self.seconds[passed.rem_euclid(METER_SECONDS) as usize] = 0;
        }
        // A clock that steps back goes on in the second that was.
        self.last = self.last.max(second);
    }

    fn count(&mut self, now: UnixMs) {
        self.advance(now);
        self.seconds[self.last.rem_euclid(METER_SECONDS) as usize] += 1;
    }

    fn per_second(&mut self, now: UnixMs) -> f64 {
        self.advance(now);
        f64::from(self.seconds.iter().sum::<u32>()) / METER_SECONDS as f64
    }
}

/// A node's health and its window.
#[derive(Clone, Debug)]
pub struct Node {
    connected: bool,
    breaker: Breaker,
    window: Window,
    rate: Rate,
    meter: Meter,
    in_flight: u32,
}

impl Node {
    /// A node that has not connected yet, with nothing in flight.
    pub fn new(limits: Limits, now: UnixMs) -> Node {
        Node {
            connected: false,
            breaker: Breaker::new(limits.breaker),
            window: Window::new(limits.window),
            rate: Rate::new(limits.payments_per_second_max, now),
            meter: Meter::default(),
            in_flight: 0,
        }
    }

    /// The connection came or went. What was in flight stays so.
    pub fn connection(&mut self, connected: bool) {
        self.connected = connected;
    }

    /// Connected.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// True when orders may be placed here.
    pub fn is_usable(&mut self, now: UnixMs) -> bool {
        self.connected && self.breaker.room(now) > 0
    }

    /// How many more attempts may start now, by connection, breaker and window.
    pub fn room(&mut self, now: UnixMs) -> u32 {
        if !self.connected {
            return 0;
        }
        let window = self.window.size().saturating_sub(self.in_flight);
        window.min(self.breaker.room(now))
    }

    /// True when the rate limit lets an attempt start now.
    pub fn rate_allows(&mut self, now: UnixMs) -> bool {
        self.rate.allows(now)
    }

    /// When the rate limit lets the next attempt start; `None` when it is not in the way.
    pub fn rate_next(&self) -> Option<UnixMs> {
        self.rate.next()
    }

    /// Everything has started that could: what the window holds now is all that it is used for.
    pub fn filled(&mut self) {
        self.window.filled(self.in_flight);
    }

    /// An attempt takes a place in the window.
    pub fn started(&mut self) {
        self.in_flight += 1;
        self.breaker.started();
        self.rate.take();
    }

    /// A place was taken and given back without a send.
    pub fn withdrawn(&mut self) {
        self.in_flight = self.in_flight.checked_sub(1).expect("what is withdrawn was started");
        self.breaker.withdrawn();
        self.rate.refund();
    }

    /// An attempt takes long (rule E21): its place in the window is another's. That says nothing
    /// about the node.
    pub fn left_window(&mut self) {
        self.breaker.withdrawn();
        self.in_flight = self.in_flight.checked_sub(1).expect("what leaves was started");
    }

    /// An attempt is over that had left the window before. So late it says nothing about how many
    /// may be in flight.
    pub fn ended_late(&mut self, outcome: &Outcome, now: UnixMs) {
        match outcome {
            Outcome::Settled { .. }
            | Outcome::Failed(_)
            | Outcome::NeverSent(NeverSent::InvoiceExpired | NeverSent::SelfPayment) => {
                self.breaker.answered();
            }
            Outcome::NeverSent(
                NeverSent::Invalid | NeverSent::NotDelivered | NeverSent::Withdrawn,
            )
            | Outcome::Stuck
            | Outcome::Suspended
            | Outcome::Contradicted(_) => {}
        }
        self.meter.count(now);
    }

    /// An attempt that was paid took so long; before [`Node::ended`] is told of it.
    pub fn took(&mut self, latency_ms: i64) {
        self.window.took(latency_ms);
    }

    /// An attempt is over.
    pub fn ended(&mut self, outcome: &Outcome, now: UnixMs) {
        match outcome {
            Outcome::Settled { .. } => {
                self.breaker.answered();
                self.window.succeeded(self.in_flight, now);
            }
            Outcome::Failed(reason) => {
                self.breaker.answered();
                if is_overload(*reason) {
                    self.window.overloaded(now);
                }
            }
            Outcome::NeverSent(NeverSent::InvoiceExpired | NeverSent::SelfPayment) => {
                self.breaker.answered();
            }
            Outcome::NeverSent(NeverSent::Invalid) => self.breaker.fault(now),
            // Not handed over or lost on the way: too much at once, for all that we know.
            Outcome::NeverSent(NeverSent::NotDelivered) => {
                self.breaker.fault(now);
                self.window.overloaded(now);
            }
            // Our own doing says nothing about the node.
            Outcome::NeverSent(NeverSent::Withdrawn)
            | Outcome::Stuck
            | Outcome::Suspended
            | Outcome::Contradicted(_) => self.breaker.withdrawn(),
        }
        self.meter.count(now);
        self.in_flight = self.in_flight.checked_sub(1).expect("what ended was started");
    }

    /// How many attempts a second ended here, over the last ten seconds.
    pub fn measured_rate(&mut self, now: UnixMs) -> f64 {
        self.meter.per_second(now)
    }

    /// A send was lost: a fault of the node or of the way to it.
    pub fn lost(&mut self, now: UnixMs) {
        self.breaker.fault(now);
    }

    /// The node answered about a payment.
    pub fn answered(&mut self) {
        self.breaker.answered();
    }

    /// Payments in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The window's size.
    pub fn window(&self) -> u32 {
        self.window.size()
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

/// Failures that a full node gives: fewer at once may do better (reference: lnd.md 0.5).
fn is_overload(reason: FailureReason) -> bool {
    match reason {
        FailureReason::InsufficientBalance | FailureReason::Timeout | FailureReason::Error => true,
        FailureReason::Unknown
        | FailureReason::NoRoute
        | FailureReason::IncorrectPaymentDetails
        | FailureReason::Canceled => false,
    }
}
