//! The nodes' own books against what the engine says.

use std::collections::HashMap;

use fulgurite_proto::fulgurite::v1::{self as proto, payment::State};
use fulgurite_sim::{BookEntry, Status};

/// The nodes' payments by payment hash.
#[derive(Debug, Default)]
pub struct Books(HashMap<[u8; 32], Vec<BookEntry>>);

/// What the nodes paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Payments.
    pub payments: u64,
    /// Without fees, in millisatoshi.
    pub amount_msat: u64,
    /// Fees, in millisatoshi.
    pub fee_msat: u64,
}

impl Books {
    /// The books with these entries.
    pub fn of(entries: impl IntoIterator<Item = BookEntry>) -> Books {
        let mut books = Books::default();
        books.update(entries);
        books
    }

    /// Takes what nodes have written since. A node that pays a hash anew forgets what it had of it,
    /// but for what it paid.
    pub fn update(&mut self, entries: impl IntoIterator<Item = BookEntry>) {
        for entry in entries {
            let known = self.0.entry(entry.payment_hash).or_default();
            let same = |before: &BookEntry| {
                let again = before.payment_index == entry.payment_index;
                before.node == entry.node && (again || before.status != Status::Succeeded)
            };
            match known.iter_mut().find(|before| same(before)) {
                Some(before) => *before = entry,
                None => known.push(entry),
            }
        }
    }

    /// How many payments are in flight at the nodes.
    pub fn in_flight(&self) -> u64 {
        let open = |entry: &&BookEntry| is_open(entry);
        self.0.values().flatten().filter(open).count() as u64
    }

    /// Whether a node shows a hash in flight.
    pub fn is_in_flight(&self, node: &str, payment_hash: [u8; 32]) -> bool {
        let mut entries = self.0.get(&payment_hash).into_iter().flatten();
        entries.any(|entry| entry.node == node && is_open(entry))
    }

    /// What was paid in all.
    pub fn sums(&self) -> Sums {
        let paid = self.0.values().flatten().filter(|entry| entry.status == Status::Succeeded);
        paid.fold(Sums::default(), |sums, entry| Sums {
            payments: sums.payments + 1,
            amount_msat: sums.amount_msat + entry.amount_msat,
            fee_msat: sums.fee_msat + entry.fee_msat,
        })
    }

    /// Hashes that were paid more than once.
    pub fn paid_twice(&self) -> Vec<String> {
        let paid = |entries: &[BookEntry]| {
            entries.iter().filter(|entry| entry.status == Status::Succeeded).count()
        };
        let twice = self.0.iter().filter(|(_, entries)| paid(entries) > 1);
        twice.map(|(hash, _)| hex::encode(hash)).collect()
    }

    /// What the books say against final payments.
    pub fn compare<'a>(&self, finals: impl Iterator<Item = &'a proto::Payment>) -> Vec<String> {
        let mut wrong = Vec::new();
        for payment in finals {
            let hash = hash_of(payment).unwrap_or_else(|| {
                wrong.push(format!("{} has no payment hash", payment.payment_id));
                [0; 32]
            });
            let entries = self.0.get(&hash).map_or(&[][..], Vec::as_slice);
            let id = &payment.payment_id;
            let paid = entries.iter().find(|entry| entry.status == Status::Succeeded);
            match (payment.state(), paid) {
                (State::Succeeded, None) => wrong.push(format!("{id} succeeded, no node paid it")),
                (State::Succeeded, Some(paid)) => {
                    let booked = (paid.amount_msat as i64, paid.fee_msat as i64);
                    if booked != (payment.amount_msat, payment.fee_msat) {
                        wrong.push(format!("{id}: amount or fee differ from {}'s", paid.node));
                    }
                }
                (_, Some(paid)) => {
                    wrong.push(format!("LOST: {id} is not paid, but {} paid it", paid.node));
                }
                (_, None) if entries.iter().any(is_open) => {
                    wrong.push(format!("{id} is final and in flight at a node"));
                }
                (_, None) => {}
            }
            if entries.iter().any(|entry| entry.created_ns > finished_ns(payment)) {
                wrong.push(format!("{id} was sent after its final state"));
            }
        }
        wrong
    }
}

/// The payment's hash.
pub fn hash_of(payment: &proto::Payment) -> Option<[u8; 32]> {
    hex::decode(&payment.payment_hash).ok()?.try_into().ok()
}

fn is_open(entry: &BookEntry) -> bool {
    !matches!(entry.status, Status::Succeeded | Status::Failed)
}

/// When it became final, in nanoseconds since 1970; all processes share one clock.
fn finished_ns(payment: &proto::Payment) -> i64 {
    let time = payment.finish_time.unwrap_or_default();
    // The engine's times are cut to milliseconds.
    time.seconds * 1_000_000_000 + i64::from(time.nanos) + 1_000_000
}

#[cfg(test)]
mod tests {
    use fulgurite_sim::FailureReason;

    use super::*;

    const FINISHED_S: i64 = 1_790_000_000;

    const HASH: [u8; 32] = [0xaa; 32];

    fn books(entries: &[(Status, i64)]) -> Books {
        Books::of(entries.iter().enumerate().map(|(at, (status, created_s))| BookEntry {
            node: format!("node-{at}"),
            payment_hash: HASH,
            status: *status,
            reason: FailureReason::None,
            amount_msat: 1_000,
            fee_msat: 10,
            payment_index: 1,
            created_ns: created_s * 1_000_000_000,
        }))
    }

    fn payment(state: State) -> proto::Payment {
        let mut payment = proto::Payment {
            payment_id: "pay_1".into(),
            payment_hash: hex::encode(HASH),
            amount_msat: 1_000,
            fee_msat: 10,
            finish_time: Some(Default::default()),
            ..Default::default()
        };
        payment.set_state(state);
        payment.finish_time.get_or_insert_default().seconds = FINISHED_S;
        payment
    }

    #[test]
    fn what_a_node_writes_later_replaces_what_it_had_but_for_what_it_paid() {
        let before = FINISHED_S - 1;
        let mut books = books(&[(Status::InFlight, before)]);
        let entry = |status, payment_index| BookEntry {
            status,
            payment_index,
            ..books_of_one((Status::Initiated, before))
        };
        books.update([entry(Status::Failed, 1)]);
        assert_eq!(books.in_flight(), 0);
        books.update([entry(Status::Initiated, 2), entry(Status::Succeeded, 2)]);
        assert_eq!((books.sums().payments, books.paid_twice().len()), (1, 0));
        books.update([entry(Status::Succeeded, 3)]);
        assert_eq!(books.paid_twice(), [hex::encode(HASH)]);
    }

    fn books_of_one(entry: (Status, i64)) -> BookEntry {
        books(&[entry]).0.remove(&HASH).into_iter().flatten().next().unwrap()
    }

    fn said(entries: &[(Status, i64)], payment: &proto::Payment) -> String {
        books(entries).compare([payment].into_iter()).join("; ")
    }

    #[test]
    fn what_agrees_is_not_reported() {
        let before = FINISHED_S - 1;
        let paid = payment(State::Succeeded);
        assert_eq!(said(&[(Status::Succeeded, before)], &paid), "");
        let failed = payment(State::Failed);
        assert_eq!(said(&[(Status::Failed, before)], &failed), "");
        assert_eq!(said(&[], &failed), "", "never sent");
    }

    #[test]
    fn every_disagreement_is_seen() {
        let before = FINISHED_S - 1;
        let (paid, failed) = (payment(State::Succeeded), payment(State::Failed));
        assert!(said(&[], &paid).contains("no node paid it"));
        assert!(said(&[(Status::Succeeded, before)], &failed).starts_with("LOST"));
        assert!(said(&[(Status::InFlight, before)], &failed).contains("in flight at a node"));
        let late = [(Status::Failed, FINISHED_S + 1)];
        assert!(said(&late, &failed).contains("sent after its final state"));
        let dearer = proto::Payment { fee_msat: 11, ..paid };
        assert!(said(&[(Status::Succeeded, before)], &dearer).contains("differ"));
        let twice = [(Status::Succeeded, before), (Status::Succeeded, before)];
        assert_eq!(books(&twice).paid_twice(), [hex::encode(HASH)]);
        assert_eq!(books(&twice).sums().payments, 2);
    }
}
