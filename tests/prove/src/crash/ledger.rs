//! What clients were told, and what the engine must therefore know and say again.

use std::{collections::BTreeMap, mem, ops::Range};

use anyhow::Result;
use fulgurite_proto::fulgurite::v1::{self as proto, payment::State};

use crate::client::{self, Accepted, Doors, Request};

/// Every request that was ever sent.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// Payments that were seen final, by id.
    finals: BTreeMap<String, proto::Payment>,
    /// Those that were not yet compared with the books.
    fresh: Vec<String>,
    /// Payments that a person must resolve, as they were seen last, by id.
    unresolved: BTreeMap<String, proto::Payment>,
    /// Payments that were last seen neither final nor unresolved, by id.
    under_way: BTreeMap<String, proto::Payment>,
}

#[derive(Debug)]
struct Entry {
    request: Request,
    accepted: Option<Accepted>,
    /// Every payment of it was seen final.
    is_final: bool,
    /// Some payment of it was seen neither final nor unresolved, or none was seen yet.
    waits: bool,
}

/// What was counted while repeating and reading.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Seen {
    /// Requests that were repeated with the same key.
    pub repeats: u64,
    /// Of these, requests that had been acknowledged before.
    pub acknowledged: u64,
}

impl Ledger {
    /// Notes what a request was answered, if it was.
    pub fn note(&mut self, request: Request, accepted: Option<Accepted>) {
        self.entries.push(Entry { request, accepted, is_final: false, waits: true });
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Payments that were seen final.
    pub fn finals(&self) -> impl Iterator<Item = &proto::Payment> {
        self.finals.values()
    }

    /// Payments that were seen final since the last call.
    pub fn fresh_finals(&mut self) -> Vec<&proto::Payment> {
        let fresh = mem::take(&mut self.fresh);
        fresh.iter().filter_map(|id| self.finals.get(id)).collect()
    }

    /// Payments that were last seen unresolved.
    pub fn unresolved(&self) -> impl Iterator<Item = &proto::Payment> {
        self.unresolved.values()
    }

    /// Payments that were last seen neither final nor unresolved.
    pub fn under_way(&self) -> impl Iterator<Item = &proto::Payment> {
        self.under_way.values()
    }

    /// How many requests have payments that were last seen neither final nor unresolved.
    pub fn waiting(&self) -> usize {
        self.entries.iter().filter(|entry| entry.waits).count()
    }

    /// Sends the requests with these numbers again, all at once, with their keys. What was
    /// acknowledged must be answered the same, and as a repeat; what was not is accepted now.
    ///
    /// # Errors
    /// When a request is not answered.
    pub async fn repeat(
        &mut self,
        doors: Doors,
        numbers: Range<usize>,
        lost: &mut Vec<String>,
    ) -> Result<Seen> {
        let mut seen = Seen::default();
        let sends: Vec<_> = self.entries[numbers.clone()]
            .iter()
            .map(|entry| {
                let request = entry.request.clone();
                tokio::spawn(async move { request.send(doors).await })
            })
            .collect();
        for (entry, sent) in self.entries[numbers].iter_mut().zip(sends) {
            let again = sent.await?;
            let again = again.map_err(|error| error.context(entry.request.key().to_owned()))?;
            seen.repeats += 1;
            if let Some(before) = &entry.accepted {
                seen.acknowledged += 1;
                let key = entry.request.key();
                if again.id != before.id || !again.replayed {
                    let (was, is) = (&before.id, &again.id);
                    lost.push(format!("LOST: {key} was {was}, and is {is} now"));
                } else if again.refused != before.refused {
                    lost.push(format!("{key}: other rows are refused now"));
                }
            }
            entry.accepted = Some(again);
        }
        Ok(seen)
    }

    /// Reads every payment that was not seen final, and compares those that were, of some requests
    /// (`of_final` says which numbers).
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn read(
        &mut self,
        doors: Doors,
        of_final: impl Fn(usize) -> bool,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        let channel = client::channel(doors.grpc)?;
        for (number, entry) in self.entries.iter_mut().enumerate() {
            let Some(accepted) = &entry.accepted else { continue };
            if entry.is_final && !of_final(number) {
                continue;
            }
            let payments = match &entry.request {
                Request::Batch(..) => client::payments_of(&channel, &accepted.id).await,
                _ => client::payment(&channel, &accepted.id).await.map(|payment| vec![payment]),
            };
            let key = entry.request.key();
            let payments = match payments {
                Ok(payments) => payments,
                Err(status) if status.code() == tonic::Code::NotFound => {
                    wrong.push(format!("LOST: {key} ({}) is not known", accepted.id));
                    continue;
                }
                Err(status) => return Err(status.into()),
            };
            if payments.len() != rows(&entry.request, accepted) {
                wrong.push(format!("LOST: {key} has {} payments", payments.len()));
            }
            entry.is_final = payments.iter().all(|payment| payment.finish_time.is_some());
            let waits = |payment: &proto::Payment| {
                payment.finish_time.is_none() && payment.state() != State::Unresolved
            };
            entry.waits = payments.iter().any(waits);
            for payment in payments {
                self.unresolved.remove(&payment.payment_id);
                self.under_way.remove(&payment.payment_id);
                if payment.state() == State::Unresolved {
                    self.unresolved.insert(payment.payment_id.clone(), payment);
                    continue;
                }
                if payment.finish_time.is_none() {
                    self.under_way.insert(payment.payment_id.clone(), payment);
                    continue;
                }
                match self.finals.get(&payment.payment_id) {
                    // A final payment must stay what it was.
                    Some(before) if *before != payment => {
                        wrong.push(format!("{} was final and changed", payment.payment_id));
                    }
                    None => {
                        self.fresh.push(payment.payment_id.clone());
                        self.finals.insert(payment.payment_id.clone(), payment);
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

fn rows(request: &Request, accepted: &Accepted) -> usize {
    match request {
        Request::Batch(_, invoices) => invoices.len() - accepted.refused,
        _ => 1,
    }
}
