//! Random histories of a batch: the invariants hold after each event, the journal gives back the
//! same state, and from every prefix of it the batch goes on to its end.

use std::sync::Arc;

use fulgurite_core::{
    BatchId, Event, FeePolicy, Msat, Order, PaymentId, Preimage, UnixMs,
    batch::{self, Batch, Counts},
    book::Book,
    event::{AttemptStarted, Contradiction, Failure, NeverSent},
    order::{Accepted, BatchOptions},
    payment::{Effect, Input, Payment, Refusal, State},
    port::FailureReason,
    retry::RetryPolicy,
    testing,
};
use fulgurite_simulation::random::{Random, seeds, with_seed};

const NOW: UnixMs = UnixMs(1_000_000_000);
const AMOUNT: Msat = Msat::from_sat_clamped(100);
const FEE_LIMIT: Msat = Msat::from_sat_clamped(2);

fn preimage(row: u32) -> Preimage {
    Preimage([u8::try_from(row).expect("few rows"); 32])
}

fn order(row: u32, random: &mut Random) -> Arc<Order> {
    let mut deadline = || random.percent(20).then(|| NOW.plus_ms(random.between(0, 30_000)));
    Arc::new(Order {
        invoice: "lnbcrt1".into(),
        payment_hash: preimage(row).payment_hash(),
        payee: None,
        amount: AMOUNT,
        amount_in_send: false,
        fee_limit: FEE_LIMIT,
        invoice_expiry: deadline().unwrap_or(NOW.plus_ms(3_600_000)),
        deadline: deadline(),
        reference: None,
    })
}

fn accepted(order_count: u32, random: &mut Random) -> Accepted {
    let count = |random: &mut Random| u32::try_from(random.between(0, 2)).expect("small");
    let options = BatchOptions {
        start_paused: random.percent(10),
        in_flight_max: 8,
        failed_count_max: count(random),
        fee_policy: FeePolicy { base: Msat::ZERO, proportional_ppm: 0 },
        deadline: random.percent(20).then(|| NOW.plus_ms(random.between(0, 30_000))),
        attempts_max: u16::try_from(random.between(0, 3)).expect("small"),
        cltv_limit_blocks: 1,
        ..BatchOptions::default()
    };
    let (batch, amount, fee_limit, time) = (BatchId::from_uuid(1 << 90), AMOUNT, FEE_LIMIT, NOW);
    Accepted { batch, amount, fee_limit, time, ..testing::accepted(options, order_count) }
}

struct History {
    random: Random,
    now: UnixMs,
    batch: Batch,
    events: Vec<Event>,
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed);
        let count = u32::try_from(random.between(0, 5)).expect("few rows");
        let orders: Vec<_> = (1..=count).map(|row| (row, order(row, &mut random))).collect();
        let accepted = Arc::new(accepted(count, &mut random));
        let started = Event::EngineStarted { epoch: 1, time: NOW, version: "test".into() };
        let batch = accepted.batch;
        let added = Event::OrdersAdded { batch, orders: Arc::new(orders.clone()) };
        let batch = Batch::new(Arc::clone(&accepted), &orders, 3);
        let events = vec![started, added, Event::BatchAccepted(accepted)];
        History { random, now: NOW, batch, events }
    }

    fn retry() -> RetryPolicy {
        RetryPolicy { backoff_ms_first: 100, backoff_ms_max: 1_000, expiry_margin_ms: 1_000 }
    }

    fn apply(&mut self, event: Event) {
        let before = self.batch.clone();
        let lsn = u64::try_from(self.events.len()).expect("few events") + 1;
        self.batch.apply(&event, lsn);
        self.events.push(event);
        assert_eq!(self.batch.summary.version, lsn);
        check(&before, &self.batch);
        self.follow_up();
    }

    fn follow_up(&mut self) {
        while let Some(event) = self.batch.follow_up(self.now) {
            self.apply(event);
        }
    }

    fn input(&mut self, payment: &Payment) -> Input {
        let last = i64::from(payment.next_attempt());
        let attempt = u16::try_from(self.random.between((last - 2).max(0), last)).expect("few");
        let odd = self.random.percent(3);
        let in_flight = payment.state.open_attempt().is_some();
        let more = if odd { Msat::from_sat_clamped(1) } else { Msat::ZERO };
        match self.random.between(0, 9) {
            0..4 => Input::Start(started(attempt, AMOUNT.saturating_add(more))),
            4 if in_flight || self.random.percent(2) => Input::Settled {
                attempt,
                preimage: if self.random.percent(10) {
                    preimage(99)
                } else {
                    preimage(payment.id.row())
                },
                amount: AMOUNT.saturating_add(more),
                fee_paid: FEE_LIMIT,
            },
            4..7 => Input::Failed { attempt, reason: self.reason() },
            7 => Input::NeverSent { attempt, cause: NeverSent::NotDelivered },
            8 if self.random.percent(5) => {
                Input::Contradicted { attempt, contradiction: Contradiction::Forgotten }
            }
            8 if self.random.percent(20) => Input::Stuck { attempt },
            8 if self.random.percent(20) => Input::Cancel,
            _ => Input::Expire,
        }
    }

    fn reason(&mut self) -> FailureReason {
        let reasons = [
            FailureReason::NoRoute,
            FailureReason::InsufficientBalance,
            FailureReason::Timeout,
            FailureReason::IncorrectPaymentDetails,
        ];
        reasons[self.random.index(reasons.len())]
    }

    /// One random input; most are refused.
    fn anything(&mut self) {
        self.now = self.now.plus_ms(self.random.between(0, 1_500));
        if self.batch.payments.is_empty() || self.random.percent(8) {
            let inputs = [batch::Input::Pause, batch::Input::Resume, batch::Input::Cancel];
            let input = if self.random.percent(5) { 2 } else { self.random.index(2) };
            if let Ok(event) = self.batch.decide(inputs[input], self.now) {
                self.apply(event);
            }
            return;
        }
        let payment = self.batch.payments[self.random.index(self.batch.payments.len())].clone();
        let input = self.input(&payment);
        let decided = self.batch.decide_payment(payment.id, &input, Self::retry(), self.now);
        let again = self.batch.decide_payment(payment.id, &input, Self::retry(), self.now);
        assert_eq!(decided, again, "to decide changes nothing");
        if let (Input::Start(_), Ok(_)) = (&input, &decided) {
            let (until, _) = self.batch.terms(Self::retry()).start_until(&payment.order);
            assert!(self.now <= until && self.batch.is_running() && payment.is_queued());
        }
        if let Ok(event) = decided {
            self.apply(event);
        }
    }

    /// Goes on after a restart until the batch is finished or only unresolved payments are left.
    fn finish(&mut self) {
        self.follow_up();
        if let Ok(event) = self.batch.decide(batch::Input::Resume, self.now) {
            self.apply(event);
        }
        for _ in 0..40 {
            self.now = self.now.plus_ms(1_000);
            let asked: Vec<(PaymentId, Effect)> = self.resumed().collect();
            if asked.is_empty() {
                let unresolved = self.batch.summary.counts.unresolved > 0;
                assert!(unresolved || self.batch.summary.state == batch::State::Finished);
                return;
            }
            for (id, effect) in asked {
                self.go_on(id, &effect);
            }
            if let Ok(event) = self.batch.decide(batch::Input::Resume, self.now) {
                self.apply(event);
            }
        }
        panic!("it does not end: {:#?}", self.batch);
    }

    fn resumed(&self) -> impl Iterator<Item = (PaymentId, Effect)> + '_ {
        self.batch.payments.iter().filter_map(|payment| Some((payment.id, payment.resume()?)))
    }

    fn go_on(&mut self, id: PaymentId, effect: &Effect) {
        let payment = self.batch.payment(id).expect("its own payment").clone();
        let inputs = match effect {
            Effect::Ask(attempt) if id.row().is_multiple_of(2) => vec![Input::Settled {
                attempt: attempt.number,
                preimage: preimage(id.row()),
                amount: AMOUNT,
                fee_paid: Msat::ZERO,
            }],
            Effect::Ask(attempt) => {
                vec![Input::Failed { attempt: attempt.number, reason: FailureReason::NoRoute }]
            }
            Effect::Wait { .. } => {
                vec![Input::Expire, Input::Start(started(payment.next_attempt(), AMOUNT))]
            }
            Effect::Send(_)
            | Effect::Finished
            | Effect::Stuck
            | Effect::Suspended
            | Effect::Alarm => {
                panic!("a restart sends nothing")
            }
        };
        for input in inputs {
            let decided = self.batch.decide_payment(id, &input, Self::retry(), self.now);
            match decided {
                Ok(event) => {
                    self.apply(event);
                    return;
                }
                Err(Refusal::NotExpired | Refusal::TooEarly | Refusal::TooLate) => {}
                // Cancelled with its batch meanwhile.
                Err(Refusal::AlreadyFinal) => {}
                Err(refusal) => panic!("{refusal}: {input:?}"),
            }
        }
    }
}

fn started(attempt: u16, amount: Msat) -> Arc<AttemptStarted> {
    Arc::new(AttemptStarted {
        attempt,
        node: "a".into(),
        epoch: 1,
        amount,
        fee_limit: FEE_LIMIT,
        channels: Vec::new(),
        cltv_limit: 1,
        timeout_seconds: 30,
        send_until: NOW,
    })
}

/// The invariants, after each event.
fn check(before: &Batch, after: &Batch) {
    let mut counts = Counts { refused: after.summary.counts.refused, ..Counts::default() };
    let (mut amount, mut fees) = (Msat::ZERO, Msat::ZERO);
    for (old, new) in before.payments.iter().zip(&after.payments) {
        let open = new.attempts.iter().filter(|attempt| attempt.ended.is_none()).count();
        let in_flight = new.state.open_attempt().is_some();
        assert_eq!(open, usize::from(in_flight), "one attempt in flight at most: {new:?}");
        match &old.state {
            State::Succeeded { .. } => assert_eq!(old, new, "succeeded is for ever"),
            State::Failed(_) | State::Cancelled => {
                let paid_after_all = matches!(new.state, State::Unresolved { .. });
                assert!(old == new || paid_after_all, "final is for ever: {new:?}");
            }
            State::Queued { .. }
            | State::InFlight(_)
            | State::Stuck(_)
            | State::Unresolved { .. } => {}
        }
        let freed = match new.state {
            State::Failed(failure) => failure != Failure::OperatorDecision,
            State::Cancelled => true,
            _ => false,
        };
        assert_eq!(new.claims_hash(), !freed);
        match &new.state {
            State::Queued { .. } => counts.queued += 1,
            State::InFlight(attempt) => {
                counts.in_flight += 1;
                assert!(attempt.amount == AMOUNT && attempt.fee_limit <= FEE_LIMIT);
            }
            State::Stuck(_) | State::Unresolved { .. } => counts.unresolved += 1,
            State::Succeeded { preimage, fee_paid } => {
                counts.succeeded += 1;
                assert_eq!(preimage.payment_hash(), new.order.payment_hash);
                assert!(*fee_paid <= FEE_LIMIT);
                amount = amount.saturating_add(AMOUNT);
                fees = fees.saturating_add(*fee_paid);
            }
            State::Failed(_) => counts.failed += 1,
            State::Cancelled => counts.cancelled += 1,
        }
    }
    assert_eq!(after.summary.counts, counts);
    assert_eq!(counts.total(), after.summary.accepted.order_count);
    assert_eq!((after.summary.amount_succeeded, after.summary.fee_paid), (amount, fees));
    if after.summary.state == batch::State::Finished && before.summary.state != after.summary.state
    {
        assert_eq!(counts.finals() + counts.refused, counts.total());
    }
}

#[test]
fn property_invariants_hold_and_every_prefix_of_the_journal_goes_on_to_the_end() {
    let name = "property_invariants_hold_and_every_prefix_of_the_journal_goes_on_to_the_end";
    let mut ends = std::collections::BTreeMap::new();
    for seed in seeds(2_000) {
        let history = with_seed(seed, name, |seed| {
            let mut history = History::new(seed);
            for _ in 0..history.random.between(10, 150) {
                history.anything();
            }
            let mut book = Book::default();
            for (at, event) in history.events.iter().enumerate() {
                book.apply(event, book.lsn + 1);
                let Some(batch) = book.batches.get(&BatchId::from_uuid(1 << 90)) else {
                    continue;
                };
                let mut survivor = History {
                    random: history.random.clone(),
                    now: book.time,
                    batch: batch.clone(),
                    events: history.events[..=at].to_vec(),
                };
                survivor.finish();
                let mut replayed = Book::default();
                for event in &survivor.events {
                    replayed.apply(event, replayed.lsn + 1);
                }
                let id = BatchId::from_uuid(1 << 90);
                assert_eq!(replayed.batches[&id], survivor.batch);
            }
            assert_eq!(book.batches[&BatchId::from_uuid(1 << 90)], history.batch);
            history
        });
        *ends.entry("events").or_insert(0) += history.events.len();
        for payment in &history.batch.payments {
            *ends.entry(payment.state.name()).or_insert(0) += 1;
        }
    }
    println!("{ends:?}");
    let one = std::env::var("SEED").is_ok();
    assert!(one || ends.len() == 7, "each state is an end: {ends:?}");
}
