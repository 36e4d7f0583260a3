//! In which order and how fast a batch's payments go to the nodes: window, rate, per-destination
//! limit, retries, deadlines.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
};

use crate::{
    batch::Batch,
    id::PaymentId,
    moments::Moments,
    order::BatchOptions,
    payment::{Payment, State},
    retry::{RetryPolicy, Terms},
    time::UnixMs,
};

type Payee = [u8; 33];

/// The schedule of one batch. Payments are named by their position in the batch.
#[derive(Clone, Debug)]
pub struct Schedule {
    ready: VecDeque<u32>,
    waiting: Moments<u32>,
    /// The last moment at which each queued payment may start.
    ends: BinaryHeap<Reverse<(UnixMs, u32)>>,
    active: u32,
    /// In flight for so long that they do not count as active (rule E21).
    long: HashSet<PaymentId>,
    per_payee: HashMap<Payee, u32>,
    /// Payments that wait for another one to the same payee.
    parked: HashMap<Payee, VecDeque<u32>>,
    rate: Rate,
    in_flight_max: u32,
    per_payee_max: u32,
    /// The batch's, for the last moments alone.
    terms: Terms,
}

/// A token bucket over whole payments.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    per_second: u32,
    /// Thousandths of a payment.
    tokens: i64,
    at: UnixMs,
}

impl Rate {
    /// A full bucket for `per_second` payments a second; 0 means no limit.
    pub fn new(per_second: u32, now: UnixMs) -> Rate {
        Rate { per_second, tokens: Self::burst(per_second), at: now }
    }

    /// A tenth of a second's worth, at least one payment.
    fn burst(per_second: u32) -> i64 {
        (i64::from(per_second) * 100).max(1_000)
    }

    /// True when a payment may go now. Takes nothing.
    pub fn allows(&mut self, now: UnixMs) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let gained = now.since(self.at).clamp(0, 60_000) * i64::from(self.per_second);
        self.tokens = (self.tokens + gained).min(Self::burst(self.per_second));
        self.at = now;
        self.tokens >= 1_000
    }

    /// Takes one payment's worth.
    pub fn take(&mut self) {
        if self.per_second > 0 {
            self.tokens -= 1_000;
        }
    }

    /// Gives one payment's worth back.
    pub fn refund(&mut self) {
        if self.per_second > 0 {
            self.tokens = (self.tokens + 1_000).min(Self::burst(self.per_second));
        }
    }

    /// When the next payment may go.
    pub fn next(&self) -> Option<UnixMs> {
        if self.per_second == 0 || self.tokens >= 1_000 {
            return None;
        }
        let missing = 1_000 - self.tokens;
        Some(self.at.plus_ms(missing / i64::from(self.per_second) + 1))
    }
}

impl Schedule {
    /// The schedule of a batch as it is now; payments in flight are active.
    pub fn new(batch: &Batch, retry: RetryPolicy, now: UnixMs) -> Schedule {
        let options: &BatchOptions = &batch.summary.accepted.options;
        let mut schedule = Schedule {
            ready: VecDeque::with_capacity(batch.payments.len()),
            waiting: Moments::new(retry.backoff_ms_max),
            ends: BinaryHeap::with_capacity(batch.payments.len()),
            active: 0,
            long: HashSet::new(),
            per_payee: HashMap::new(),
            parked: HashMap::new(),
            rate: Rate::new(options.payments_per_second_max, now),
            in_flight_max: options.in_flight_max.max(1),
            per_payee_max: options.per_destination_in_flight_max,
            terms: batch.terms(retry),
        };
        for (position, payment) in (0_u32..).zip(&batch.payments) {
            match &payment.state {
                State::Queued { not_before } => {
                    schedule.queued(position, payment, *not_before, now);
                }
                State::InFlight(_) => schedule.started(payment),
                State::Stuck(_)
                | State::Unresolved { .. }
                | State::Succeeded { .. }
                | State::Failed(_)
                | State::Cancelled => {}
            }
        }
        schedule
    }

    /// A payment waits for its turn, not before the given time. Also one that was in flight: its
    /// last moment may have passed meanwhile, and the clock been set back since.
    pub fn queued(&mut self, position: u32, payment: &Payment, not_before: UnixMs, now: UnixMs) {
        let (until, _) = self.terms.start_until(&payment.order);
        self.ends.push(Reverse((until, position)));
        if not_before <= now {
            self.ready.push_back(position);
        } else {
            self.waiting.set(position, not_before);
        }
    }

    /// A payment goes back to the front: it was placed and did not start, so that the rate has not
    /// been used.
    pub fn returned(&mut self, position: u32) {
        self.rate.refund();
        self.ready.push_front(position);
    }

    fn started(&mut self, payment: &Payment) {
        self.active += 1;
        if let (true, Some(payee)) = (self.per_payee_max > 0, payment.order.payee) {
            *self.per_payee.entry(payee).or_default() += 1;
        }
    }

    /// The next payment that may be placed at a node now. It counts as active from here on.
    /// `payments` are the batch's.
    pub fn take(&mut self, payments: &[Payment], now: UnixMs) -> Option<u32> {
        while let Some(position) = self.waiting.take_due(now) {
            self.ready.push_back(position);
        }
        while self.active < self.in_flight_max && self.rate.allows(now) {
            let position = self.ready.pop_front()?;
            let payment = &payments[position as usize];
            // Cancelled or expired while it waited: its turn at the payee is another's.
            if !payment.is_queued() {
                self.unpark(payment);
                continue;
            }
            if let (true, Some(payee)) = (self.per_payee_max > 0, payment.order.payee)
                && self.per_payee.get(&payee).copied().unwrap_or(0) >= self.per_payee_max
            {
                self.parked.entry(payee).or_default().push_back(position);
                continue;
            }
            self.rate.take();
            self.started(payment);
            return Some(position);
        }
        None
    }

    /// A payment takes long (rule E21): its place in the window is another's. To its payee it is in
    /// flight all the same.
    pub fn left_window(&mut self, payment: &Payment) {
        if self.long.insert(payment.id) {
            self.active = self.active.checked_sub(1).expect("what leaves was active");
        }
    }

    /// A payment is no longer placed or in flight.
    pub fn ended(&mut self, payment: &Payment) {
        if !self.long.remove(&payment.id) {
            self.active = self.active.checked_sub(1).expect("what ends was active");
        }
        let Some(payee) = payment.order.payee else {
            return;
        };
        if self.per_payee_max == 0 {
            return;
        }
        let active = self.per_payee.get_mut(&payee).expect("what ends was counted");
        *active -= 1;
        if *active == 0 {
            self.per_payee.remove(&payee);
        }
        self.unpark(payment);
    }

    /// Lets the next payment go on that waits for another one to this payment's payee.
    fn unpark(&mut self, payment: &Payment) {
        let Some(payee) = payment.order.payee else {
            return;
        };
        let Some(parked) = self.parked.get_mut(&payee) else {
            return;
        };
        if let Some(position) = parked.pop_front() {
            self.ready.push_front(position);
        }
        if parked.is_empty() {
            self.parked.remove(&payee);
        }
    }

    /// A payment whose last moment to start has passed; the caller fails it if it is still queued.
    pub fn expired(&mut self, now: UnixMs) -> Option<u32> {
        let &Reverse((until, position)) = self.ends.peek()?;
        if until >= now {
            return None;
        }
        self.ends.pop();
        Some(position)
    }

    /// When something may be possible that was not when [`Schedule::take`] gave nothing: for one
    /// that may place payments and has found room for all that it was given.
    pub fn wake_at(&self, now: UnixMs) -> Option<UnixMs> {
        // With a full window the rate is not in the way: an end is no matter of time.
        let rate = if self.has_ready() { self.rate.next() } else { None };
        [self.waiting.next(now), self.end_at(), rate].into_iter().flatten().min()
    }

    /// When [`Schedule::expired`] gives the next payment: all that time brings to a batch that is
    /// paused, or has no room at any node.
    pub fn end_at(&self) -> Option<UnixMs> {
        self.ends.peek().map(|Reverse((until, _))| until.plus_ms(1))
    }

    /// Payments that are placed or in flight, without those that left the window.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// True when a payment could be placed if a node had room.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() && self.active < self.in_flight_max
    }
}
