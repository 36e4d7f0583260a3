//! What a journal must say, and whether one that was opened says it.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use fulgurite_core::{
    Event, Lsn,
    batch::Batch,
    book::{Book, Changed},
    payment::State,
};
use fulgurite_journal::{Claim, Groups, Opened, Store, ViewFault, Views, open};

use crate::{
    history::NOW,
    recording::{Recording, options},
};

/// The true events of a journal, from the first.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    events: Vec<Event>,
    keep_ms: i64,
}

/// What opening a journal that may be damaged came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has exactly the true events, and every view agrees.
    Same {
        /// The last event.
        last: Lsn,
        /// The last event whose record was removed; 0 for none.
        removed: Lsn,
    },
    /// It was not opened; why.
    Refused(String),
    /// It was opened, and says itself that something in it is damaged; what.
    Detected(String),
    /// It says something else, and nobody would notice; what.
    Silent(String),
}

/// A journal after the event with this number.
struct Expected {
    book: Book,
    finished: Vec<Batch>,
}

impl Truth {
    /// The events of a recording, whose records may be removed in part.
    ///
    /// # Errors
    /// When those that are kept are not whole, or others.
    pub fn of(recording: &Recording) -> Result<Truth> {
        let truth = Truth { events: recording.events(), keep_ms: recording.keep_ms() };
        let store = Store::open_read_only(&recording.journal()).context("opening the recording")?;
        let has_first = Groups::holding(&store, 1).next().is_some_and(|first| first.is_ok());
        ensure!(has_first == (truth.keep_ms == 0), "the first record is there: {has_first}");
        let groups = Groups::kept(&store)?;
        let last_removed = groups.position().lsn;
        let mut last = 0;
        for group in groups {
            let group = group?;
            for (lsn, event) in group.numbered() {
                ensure!(
                    truth.events.get(lsn as usize - 1) == Some(event),
                    "event {lsn} is another"
                );
            }
            last = group.end.lsn;
        }
        let is_kept = last_removed == 0;
        ensure!(is_kept == (truth.keep_ms == 0), "records up to {last_removed} were removed");
        ensure!(last == truth.last(), "{last} events were recorded of {}", truth.last());
        Ok(truth)
    }

    /// The last event.
    pub fn last(&self) -> Lsn {
        self.events.len() as Lsn
    }

    fn at(&self, last: Lsn) -> Expected {
        let mut expected = Expected { book: Book::default(), finished: Vec::new() };
        for (lsn, event) in (1..=last).zip(&self.events) {
            if let Changed::Finished(batch) = expected.book.apply(event, lsn) {
                expected.finished.extend(expected.book.forget(batch));
            }
        }
        expected
    }

    /// Opens the journal in `folder` and compares all that it says with what must be there: at
    /// least everything up to `acknowledged`.
    pub fn check(&self, folder: &Path, acknowledged: Lsn) -> Outcome {
        let checked = catch_unwind(AssertUnwindSafe(|| self.check_opened(folder, acknowledged)));
        checked.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Outcome::Silent(format!("panic: {}", text.unwrap_or_default()))
        })
    }

    fn check_opened(&self, folder: &Path, acknowledged: Lsn) -> Outcome {
        let opened = match open(options(folder, self.keep_ms), NOW) {
            Ok(opened) => opened,
            Err(error) => return Outcome::Refused(with_causes(&error)),
        };
        let last = opened.book.lsn - 1;
        let removed = opened.journal.totals().oldest_lsn - 1;
        let views = self.check_views(&opened, last, acknowledged);
        let Opened { running, views: open_views, journal, .. } = opened;
        running.close();
        // They hold the database, which tidies up in the background.
        drop((open_views, journal));
        match views {
            Ok(Ok(())) => match self.check_events(folder, last) {
                Outcome::Same { last, .. } => Outcome::Same { last, removed },
                other => other,
            },
            Ok(Err(silent)) => Outcome::Silent(silent),
            Err(fault) => Outcome::Detected(with_causes(&fault)),
        }
    }

    fn check_views(
        &self,
        opened: &Opened,
        last: Lsn,
        acknowledged: Lsn,
    ) -> Result<Result<(), String>, ViewFault> {
        if last < acknowledged {
            return Ok(Err(format!("ends at {last}, but {acknowledged} was acknowledged")));
        }
        if last > self.last() {
            return Ok(Err(format!("ends at {last}, but {} was the last", self.last())));
        }
        let mut expected = self.at(last);
        let epoch = expected.book.epoch + 1;
        let version = env!("CARGO_PKG_VERSION").into();
        expected.book.apply(&Event::EngineStarted { epoch, time: NOW, version }, last + 1);
        if opened.book != expected.book {
            return Ok(Err(format!("what is open after {last} differs")));
        }
        for event in &self.events[..last as usize] {
            if let Event::PaidElsewhere { hashes, .. } = event {
                for hash in hashes.iter() {
                    if opened.views.hash_claim(*hash)?.is_none_or(|claim| !claim.paid) {
                        return Ok(Err(format!("{hash}, paid elsewhere, is free after {last}")));
                    }
                }
            }
        }
        for batch in expected.finished.iter().chain(expected.book.batches.values()) {
            if let Err(what) = compare(&opened.views, batch)? {
                let id = batch.summary.accepted.batch;
                return Ok(Err(format!("{what} of {id} differs after {last}")));
            }
        }
        Ok(Ok(()))
    }

    /// Reads the whole journal: older events are not read by a start.
    fn check_events(&self, folder: &Path, last: Lsn) -> Outcome {
        let store = match Store::open_read_only(folder) {
            Ok(store) => store,
            Err(error) => return Outcome::Detected(error.to_string()),
        };
        let mut found = Vec::new();
        let mut groups = match Groups::kept(&store) {
            Ok(groups) => groups,
            Err(fault) => return Outcome::Detected(fault.to_string()),
        };
        let removed = groups.position().lsn;
        if removed > 0 && self.keep_ms == 0 {
            return Outcome::Silent(format!("the events up to {removed} are gone"));
        }
        for group in &mut groups {
            match group {
                Ok(group) => found.extend(group.events),
                Err(damaged) => return Outcome::Detected(damaged.to_string()),
            }
        }
        // The last one is this start's own.
        let found = found.split_last().map_or(&found[..], |(_, found)| found);
        if Some(found) == self.events.get(removed as usize..last as usize) {
            Outcome::Same { last, removed }
        } else {
            Outcome::Silent(format!("the events up to {last} differ"))
        }
    }
}

/// Whether the views say of a batch what it is; if not, what they say wrong.
fn compare(views: &Views, batch: &Batch) -> Result<Result<(), &'static str>, ViewFault> {
    let accepted = &batch.summary.accepted;
    if views.batch(accepted.batch)?.as_ref() != Some(&batch.summary) {
        return Ok(Err("the summary"));
    }
    if views.batch_by_key(&accepted.account, &accepted.idempotency_key)? != Some(accepted.batch) {
        return Ok(Err("the idempotency key"));
    }
    for payment in &batch.payments {
        if views.payment(payment.id)?.as_ref() != Some(payment) {
            return Ok(Err("a payment"));
        }
        let paid = matches!(payment.state, State::Succeeded { .. });
        let claim = payment.claims_hash().then_some(Claim { payment: Some(payment.id), paid });
        if views.hash_claim(payment.order.payment_hash)? != claim {
            return Ok(Err("the claim of a hash"));
        }
        if let Some(reference) = &payment.order.reference
            && !views.by_reference(&reference.bytes)?.contains(&payment.id)
        {
            return Ok(Err("a reference"));
        }
    }
    Ok(Ok(()))
}

/// An error with everything below it.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text = format!("{text}: {cause}");
        below = cause.source();
    }
    text
}

/// A refusal without what differs between two of a kind: numbers and paths.
pub fn kind_of_refusal(text: &str) -> String {
    let mut kind = String::new();
    for word in text.split(' ') {
        if word.contains('/') {
            kind += "PATH";
        } else if word.chars().any(|c| c.is_ascii_digit()) {
            kind += "N";
        } else {
            kind += word;
        }
        kind.push(' ');
    }
    kind.trim_end().chars().take(90).collect()
}
