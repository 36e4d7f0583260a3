//! What a node does with a payment: refuse, start, attempt, resolve, end.
//!
//! ```text
//! SendPaymentV2 ── refused ──► (no record)
//!      │
//!   INITIATED ── its turn (cap of payments/s) ──► IN_FLIGHT ── HTLCs resolve ──► SUCCEEDED
//!      │                                              │
//!      └── no balance, slot, route, time ─────────────┴──► FAILED (may be sent again)
//! ```

use std::time::{Duration, Instant};

use fulgurite_proto::routerrpc::SendPaymentRequest;
use sha2::{Digest, Sha256};

use crate::bolt11::{self, Facts};
use crate::channel::{FeePolicy, Limits, MAX_PARTS, plan};
use crate::clock;
use crate::decide::{self, Cut, Decision, Outcome};
use crate::network::Verdict;
use crate::node::{Alarm, Node, Open, Waiting};
use crate::payment::{FailureReason, Payment, Recipient, Shards, Status};
use crate::record::{Record, STARTED_HEAD};
use crate::refusal::{Code, Refusal};

/// lnd's default for `timeout_seconds`.
const TIMEOUT_SECONDS: u64 = 60;

/// What lnd adds to the blocks that the recipient asks for.
const CLTV_PADDING: u64 = 3;

/// How late a payment may use a turn under the cap: bursts of so much are allowed.
const BURST: Duration = Duration::from_millis(20);

/// How long a node that recants takes for it.
const RECANTS_AFTER: Duration = Duration::from_millis(300);

/// An invoice that is to be paid, checked so far.
struct Target {
    facts: Facts,
    recipient: Recipient,
    amount_msat: u64,
}

impl Node {
    /// Does what SendPaymentV2 does, up to the stream: the payment's slot, and how its stream is
    /// to be cut.
    ///
    /// # Errors
    /// lnd's refusals, in lnd's order: the invoice's expiry before the payments' table.
    pub fn send(&mut self, request: &SendPaymentRequest) -> Result<(u32, Cut), Refusal> {
        let target = self.target(request)?;
        if let Some(slot) = self.payments.find(&target.facts.payment_hash) {
            let text = match self.payments.get(slot).status {
                Status::Initiated => "payment already exists",
                Status::InFlight => "payment is in transition",
                Status::Succeeded => "invoice is already paid",
                Status::Failed => "",
            };
            if !text.is_empty() {
                return Err(Refusal::new(Code::AlreadyExists, text));
            }
        }
        let slot = self.begin(request, &target);
        let decision = self.decide(slot);
        let max_parts = if request.max_parts == 0 { MAX_PARTS } else { request.max_parts };
        let limits = Limits {
            fee_limit_msat: u64::try_from(request.fee_limit_msat).unwrap_or(0),
            max_parts,
            outgoing_chan_ids: &request.outgoing_chan_ids,
        };
        match self.turn_of(request.timeout_seconds) {
            None => self.attempt(slot, limits, decision),
            Some((at, alarm)) => {
                self.waiting.insert(slot, Waiting::new(limits, decision));
                self.set_timer(at, slot, alarm);
            }
        }
        Ok((slot, decision.cut))
    }

    /// Whether this send is lost on the way.
    pub fn drops(&mut self, invoice: &str) -> bool {
        let share = self.knobs.drop_share;
        if share <= 0.0 {
            return false;
        }
        let payment: [u8; 32] = Sha256::digest(invoice).into();
        let nth = self.dropped.entry(payment).or_insert(0);
        *nth += 1;
        decide::is_dropped(self.config.seed, &payment, *nth, share)
    }

    /// Everything that lnd checks before it looks at its payments.
    fn target(&mut self, request: &SendPaymentRequest) -> Result<Target, Refusal> {
        let invoice = request.payment_request.as_str();
        if invoice.is_empty() {
            return Err(Refusal::unknown("the simulation pays invoices only"));
        }
        let (facts, payee, recipient) = self.facts(invoice)?;
        let valid_until =
            i64::try_from(facts.timestamp.saturating_add(facts.expiry_secs)).unwrap_or(i64::MAX);
        if self.now_ns() / 1_000_000_000 >= valid_until {
            let until = clock::go_text(valid_until);
            return Err(Refusal::unknown(format!("invoice expired. Valid until {until}")));
        }
        let asked = u64::try_from(request.amt_msat).unwrap_or(0);
        let amount_msat = match (facts.amount_msat, asked) {
            (Some(amount_msat), 0) if amount_msat > 0 => amount_msat,
            (Some(0) | None, 1..) => asked,
            (Some(0) | None, 0) => {
                let text = "amount must be specified when paying a zero amount invoice";
                return Err(Refusal::unknown(text));
            }
            (Some(_), _) => {
                let text = "amount must not be specified when paying a non-zero amount invoice";
                return Err(Refusal::unknown(text));
            }
        };
        if facts.is_amp {
            let text = "the AMP flag (--amp or SendPaymentRequest.Amp) must be set to pay an AMP \
                        invoice";
            return Err(Refusal::unknown(text));
        }
        if !request.allow_self_payment && payee == Some(self.identity.pubkey) {
            return Err(Refusal::unknown("self-payments not allowed"));
        }
        if !(0..=2_016).contains(&request.cltv_limit) {
            let limit = request.cltv_limit;
            let text = format!("total time lock of {limit} exceeds max allowed 2016");
            return Err(Refusal::unknown(text));
        }
        let least = facts.cltv_expiry.saturating_add(CLTV_PADDING);
        let limit = u64::try_from(request.cltv_limit).unwrap_or(0);
        if (1..=least).contains(&limit) {
            let text = format!("cltv limit {limit} should be greater than {least}");
            return Err(Refusal::unknown(text));
        }
        Ok(Target { facts, recipient, amount_msat })
    }

    /// Who gets what for this invoice. Only an invoice that is not the fleet's is parsed.
    fn facts(&self, invoice: &str) -> Result<(Facts, Option<[u8; 33]>, Recipient), Refusal> {
        let glanced = bolt11::glance(invoice);
        if let Some(facts) = &glanced
            && let Some((index, payee)) = self.factory.recognise(facts)
        {
            return Ok((facts.clone(), None, Recipient::Factory { index, payee }));
        }
        if let Some(facts) = glanced
            && let Some(payment_hash) = self.network.hash_of(invoice)
        {
            let owner = self.network.find(&payment_hash).map(|invoice| invoice.owner);
            let is_own = owner == Some(self.identity.index);
            return Ok((facts, is_own.then_some(self.identity.pubkey), Recipient::Node));
        }
        let parsed = bolt11::parse(invoice).map_err(Refusal::unknown)?;
        Ok((parsed.facts, Some(parsed.payee), Recipient::Node))
    }

    /// Writes the payment down.
    fn begin(&mut self, request: &SendPaymentRequest, target: &Target) -> u32 {
        let created_ns = self.now_ns();
        let invoice = request.payment_request.as_bytes();
        let Target { facts, recipient, amount_msat } = target;
        let (payment_hash, recipient, amount_msat) = (facts.payment_hash, *recipient, *amount_msat);
        let started = Record::Started { payment_hash, amount_msat, created_ns, recipient, invoice };
        let at = self.book.append(&started);
        self.payments.add(Payment {
            payment_hash,
            status: Status::Initiated,
            reason: FailureReason::None,
            superseded: false,
            recipient,
            amount_msat,
            created_ns,
            resolved_ns: 0,
            shards: Shards::None,
            preimage: [0; 32],
            invoice_at: (at + STARTED_HEAD, u16::try_from(invoice.len()).unwrap_or(0)),
        })
    }

    /// Its fate. Only the fleet's first send of a hash fails, sticks or loses its stream.
    fn decide(&self, slot: u32) -> Decision {
        if !self.decides {
            return Decision { outcome: Outcome::Settle, cut: Cut::Never, latency: Duration::ZERO };
        }
        let payment_hash = &self.payments.get(slot).payment_hash;
        let decision = decide::decide(self.config.seed, payment_hash, &self.knobs);
        if decision.is_plain() || self.network.is_first_send(payment_hash) {
            return decision;
        }
        decision.again()
    }

    /// When the payment may be attempted under the cap of payments per second: `None` is now.
    fn turn_of(&mut self, timeout_seconds: i32) -> Option<(Instant, Alarm)> {
        if self.knobs.payments_per_second <= 0.0 {
            return None;
        }
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let turn = self.next_start.max(earliest);
        let timeout = match u64::try_from(timeout_seconds) {
            Ok(0) | Err(_) => TIMEOUT_SECONDS,
            Ok(seconds) => seconds,
        };
        let gives_up = now + Duration::from_secs(timeout);
        if turn > gives_up {
            return Some((gives_up, Alarm::TimeOut));
        }
        self.next_start = turn + Duration::from_secs_f64(1.0 / self.knobs.payments_per_second);
        (turn > now).then_some((turn, Alarm::Attempt))
    }

    /// Finds a route and puts the HTLCs out, or fails at once: a node never queues.
    pub fn attempt(&mut self, slot: u32, limits: Limits<'_>, decision: Decision) {
        use FailureReason::{InsufficientBalance, NoRoute};
        if let Outcome::Fail(reason @ (NoRoute | InsufficientBalance)) = decision.outcome {
            return self.end(slot, reason, [0; 32]);
        }
        let amount_msat = self.payments.get(slot).amount_msat;
        let fees = FeePolicy { base_msat: self.knobs.fee_base_msat, ppm: self.knobs.fee_ppm };
        let planned = if self.knobs.peers_offline {
            Err(InsufficientBalance)
        } else {
            plan(&self.channels, amount_msat, fees, limits)
        };
        let mut shards = match planned {
            Ok(shards) => shards,
            Err(reason) => return self.end(slot, reason, [0; 32]),
        };
        let (outcome, delay) = match (decision.outcome, self.knobs.stuck_ms) {
            (Outcome::Stuck, 0) | (Outcome::Zombie, _) => (decision.outcome, None),
            (Outcome::Stuck, ms) => (Outcome::Settle, Some(Duration::from_millis(ms))),
            (outcome, _) => (outcome, Some(decision.latency)),
        };
        if outcome == Outcome::Zombie {
            shards = Shards::None;
        }
        for shard in shards.as_slice() {
            self.channels[usize::from(shard.channel)].reserve(shard);
        }
        let due_ns =
            delay.map_or(0, |delay| clock::node_now_ns(0).saturating_add(delay.as_nanos() as i64));
        let sent = Record::Sent { slot, outcome, due_ns, shards };
        self.book.append(&sent);
        let Record::Sent { shards, .. } = sent else {
            return;
        };
        let payment = self.payments.get_mut(slot);
        payment.status = Status::InFlight;
        payment.shards = shards;
        if delay == Some(Duration::ZERO) {
            return self.resolve(slot, outcome);
        }
        self.open.insert(slot, Open { outcome });
        if let Some(delay) = delay {
            self.set_timer(Instant::now() + delay, slot, Alarm::Resolve);
        }
        self.tell(slot, false);
    }

    /// The HTLCs of a payment resolve.
    pub fn resolve(&mut self, slot: u32, outcome: Outcome) {
        let payment = self.payments.get(slot);
        let verdict = match (outcome, payment.recipient) {
            (Outcome::Fail(reason), _) => Verdict::Refused(reason),
            (Outcome::Stuck | Outcome::Zombie | Outcome::Uncommitted, _) => Verdict::Held,
            (Outcome::Settle, Recipient::Factory { index, .. }) => {
                let preimage = self.factory.preimage(index);
                if Sha256::digest(preimage)[..] == payment.payment_hash {
                    Verdict::Settled(preimage)
                } else {
                    Verdict::Refused(FailureReason::IncorrectPaymentDetails)
                }
            }
            (Outcome::Settle, Recipient::Node) => {
                let (hash, amount_msat) = (payment.payment_hash, payment.amount_msat);
                self.network.arrive(&hash, self.identity.index, amount_msat)
            }
        };
        match verdict {
            Verdict::Settled(preimage) => self.end(slot, FailureReason::None, preimage),
            Verdict::Refused(reason) => self.end(slot, reason, [0; 32]),
            Verdict::Held => {
                self.open.entry(slot).or_insert(Open { outcome });
                self.tell(slot, false);
            }
        }
    }

    /// Ends a payment; it succeeded if `reason` is none.
    pub fn end(&mut self, slot: u32, reason: FailureReason, preimage: [u8; 32]) {
        let resolved_ns = self.now_ns();
        self.book.append(&Record::Ended { slot, reason, resolved_ns, preimage });
        self.open.remove(&slot);
        let settled = reason == FailureReason::None;
        let payment = self.payments.get_mut(slot);
        for shard in payment.shards.as_slice() {
            self.channels[usize::from(shard.channel)].resolve(shard, settled);
        }
        payment.status = if settled { Status::Succeeded } else { Status::Failed };
        payment.reason = reason;
        payment.resolved_ns = resolved_ns;
        payment.preimage = preimage;
        let recants = self.knobs.recants && !settled && payment.shards != Shards::None;
        self.tell(slot, !recants);
        if !settled {
            // lnd deletes the attempts of a failed payment behind the last message of its stream.
            self.payments.get_mut(slot).shards = Shards::None;
        }
        if recants {
            self.open.insert(slot, Open { outcome: Outcome::Settle });
            self.set_timer(Instant::now() + RECANTS_AFTER, slot, Alarm::Resolve);
        }
    }
}
