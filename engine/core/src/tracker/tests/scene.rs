//! Plays a table: one line is one report to an attempt's tracker and what must come of it.
//!
//! Sends and calls share one row of numbers. Send `n` expires at second `n`, what a predecessor
//! sent at second 0; `fence 1` is the fence up to second 1.

use super::super::*;
use crate::{
    amount::Msat,
    testing::{AMOUNT, FEE_LIMIT, NOW, attempt, batch_id, hash, preimage},
};

struct Scene {
    tracker: Tracker,
    number: u64,
    now: UnixMs,
    connected: bool,
}

fn ms(seconds: u64) -> i64 {
    1_000 * i64::try_from(seconds).expect("few seconds")
}

fn second(number: u64) -> UnixMs {
    NOW.plus_ms(ms(number))
}

fn payment(status: PaymentStatus) -> PaymentReport {
    PaymentReport {
        status,
        amount: AMOUNT,
        first_hops: Vec::new(),
        htlc_expiry_height: 0,
        created: NOW,
    }
}

fn report(what: &str) -> Option<PaymentReport> {
    let paid = PaymentStatus::Succeeded { preimage: preimage(1), fee_paid: FEE_LIMIT };
    Some(match what {
        "in flight" => payment(PaymentStatus::InFlight),
        "in flight by 7" => {
            PaymentReport { first_hops: vec![7], ..payment(PaymentStatus::InFlight) }
        }
        "failed" => payment(PaymentStatus::Failed(FailureReason::NoRoute)),
        "refused" => payment(PaymentStatus::Failed(FailureReason::IncorrectPaymentDetails)),
        "paid" => payment(paid),
        "paid another amount" => PaymentReport { amount: Msat::ZERO, ..payment(paid) },
        "paid long ago" => PaymentReport { created: NOW.plus_ms(-120_001), ..payment(paid) },
        "paid just before" => PaymentReport { created: NOW.plus_ms(-120_000), ..payment(paid) },
        _ => return None,
    })
}

fn end(what: &str) -> SendEnd {
    match what {
        "completed" => SendEnd::Completed,
        "not handed over" => SendEnd::NotHandedOver,
        "exists" => SendEnd::Refused(Refused::AlreadyExists),
        "invoice expired" => SendEnd::Refused(Refused::InvoiceExpired),
        "macaroon expired" => SendEnd::Refused(Refused::MacaroonExpired),
        "to itself" => SendEnd::Refused(Refused::SelfPayment),
        "invalid" => SendEnd::Refused(Refused::Invalid),
        "deadline" | "lost" | "permission denied" => SendEnd::Lost(what.into()),
        _ => panic!("no such end: {what}"),
    }
}

impl Scene {
    fn step(&mut self, input: Input) -> String {
        let expiry = second(self.number + 1);
        let mut context =
            Context { now: self.now, expiry, connected: self.connected, number: &mut self.number };
        match self.tracker.step(input, &mut context) {
            None => "-".into(),
            Some(Action::Send(send, expiry)) => {
                assert_eq!(expiry, second(send.number));
                format!("send {}", send.number)
            }
            Some(Action::Track(call)) => {
                assert_eq!(call.payment_hash, hash(1));
                format!("track {}", call.number)
            }
            Some(Action::AskPermission) => "ask".into(),
            Some(Action::Stuck) => "Stuck".into(),
            Some(Action::Fence(expiry)) => format!("fence {}", expiry.since(NOW) / 1_000),
            Some(Action::Done(Outcome::Settled { .. })) => "Settled".into(),
            Some(Action::Done(Outcome::Failed(reason))) => format!("Failed({reason:?})"),
            Some(Action::Done(Outcome::NeverSent(cause))) => format!("NeverSent({cause:?})"),
            Some(Action::Done(Outcome::Stuck | Outcome::Suspended)) => panic!("stuck is not over"),
            Some(Action::Done(Outcome::Contradicted(what))) => format!("Contradicted({what:?})"),
        }
    }

    fn hear(&mut self, what: &str) -> String {
        let mut words = what.splitn(3, ' ');
        let (kind, number) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let rest = words.next().unwrap_or("");
        let number: u64 = number.parse().unwrap_or(0);
        match kind {
            "start" => self.step(Input::Start),
            "tick" => self.step(Input::Tick),
            "yes" => self.step(Input::Permission(true)),
            "no" => self.step(Input::Permission(false)),
            "silence" => self.step(Input::Silence(ms(number))),
            "look" => self.step(Input::Look { alive: rest == "alive" }),
            "fence" => self.step(Input::Fence(second(number))),
            "connection" => {
                self.connected = rest == "back";
                "-".into()
            }
            "later" => {
                self.now = self.now.plus_ms(ms(number.max(1)));
                self.step(Input::Tick)
            }
            "send" => self.step(Input::Send(
                number,
                match report(rest) {
                    Some(report) => SendReport::Payment(report),
                    None => SendReport::Ended(end(rest)),
                },
            )),
            "track" => self.step(Input::Track(
                number,
                match (report(rest), rest) {
                    (Some(report), _) => TrackReport::Payment(report),
                    (None, "not found") => TrackReport::NotFound,
                    (None, "unreachable") => TrackReport::Unreachable(String::new()),
                    (None, _) => panic!("no such report: {rest}"),
                },
            )),
            _ => panic!("no such input: {what}"),
        }
    }
}

pub fn play(tracker: Tracker, table: &[(&str, &str)]) {
    let mut scene = Scene { tracker, number: 0, now: NOW, connected: true };
    for (line, (input, outcome)) in (1..).zip(table) {
        assert_eq!(scene.hear(input), *outcome, "line {line}: {input}");
    }
}

pub fn tracker() -> Tracker {
    Tracker::new(batch_id().payment(1), hash(1), attempt(1), NOW)
}

pub fn check(table: &[(&str, &str)]) {
    play(tracker(), table);
}

pub fn check_resumed(table: &[(&str, &str)]) {
    play(tracker().resumed(NOW), table);
}
