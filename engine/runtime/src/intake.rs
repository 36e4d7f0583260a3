//! What lives in the engine, against its limits (two limits at the door: what waits, what lives).

use std::collections::{HashMap, VecDeque};

use fulgurite_core::{BatchId, Lsn};
use parking_lot::Mutex;

use crate::upload::Busy;

/// Single payments on their way at once. Each is one order and holds its place for milliseconds;
/// an upload can hold one for minutes, so they have places of their own.
const SINGLES_MAX: usize = 4_096;

/// The limits at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most payments that are not final, over all batches.
    pub open_payments_max: usize,
    /// The most uploads that are on their way; single payments do not count.
    pub uploads_max: usize,
    /// New orders are refused when the journal's disk has less room, in bytes.
    pub disk_floor_bytes: u64,
}

/// Counts what lives.
pub struct Intake {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open_payments: usize,
    uploads: usize,
    singles: usize,
    stopping: bool,
    keys: HashMap<String, Key>,
    /// Keys that leave memory once the views have passed their LSN.
    leaving: VecDeque<(Lsn, String)>,
}

impl State {
    fn under_way(&mut self, single: bool) -> &mut usize {
        if single { &mut self.singles } else { &mut self.uploads }
    }
}

/// What is known of an idempotency key that the views may not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A commit with this key is being decided.
    Pending,
    /// It belongs to this batch since this LSN.
    Bound(BatchId, Lsn),
}

impl Intake {
    /// Nothing lives yet but `open_payments` from before.
    pub fn new(limits: Limits, open_payments: usize) -> Intake {
        Intake { limits, state: Mutex::new(State { open_payments, ..State::default() }) }
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Lets an upload in, or a single payment.
    pub fn open_upload(&self, order_count: usize, single: bool) -> Result<(), Busy> {
        let mut state = self.state.lock();
        if state.stopping {
            return Err(Busy::Stopping);
        }
        let max = if single { SINGLES_MAX } else { self.limits.uploads_max };
        if *state.under_way(single) >= max {
            return Err(Busy::Overloaded);
        }
        if state.open_payments + order_count > self.limits.open_payments_max {
            return Err(Busy::TooManyOpen);
        }
        *state.under_way(single) += 1;
        Ok(())
    }

    /// Payments that are not final, and uploads on their way.
    pub fn live(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.open_payments, state.uploads)
    }

    /// An upload or a single payment is over, one way or the other.
    pub fn close_upload(&self, single: bool) {
        *self.state.lock().under_way(single) -= 1;
    }

    /// Payments come to life.
    pub fn opened(&self, payments: usize) -> Result<(), Busy> {
        let mut state = self.state.lock();
        if state.stopping {
            return Err(Busy::Stopping);
        }
        if state.open_payments + payments > self.limits.open_payments_max {
            return Err(Busy::TooManyOpen);
        }
        state.open_payments += payments;
        Ok(())
    }

    /// A payment that was final is unresolved: it will be closed once more. No limit stops it.
    pub fn reopened(&self) {
        self.state.lock().open_payments += 1;
    }

    /// Payments are final, or did not come to life after all.
    pub fn closed(&self, payments: usize) {
        let mut state = self.state.lock();
        state.open_payments = state.open_payments.saturating_sub(payments);
    }

    /// Takes a key for a commit. `Err` says who has it; a pending one is worth waiting for.
    pub fn take_key(&self, key: &str) -> Result<(), Key> {
        let mut state = self.state.lock();
        if let Some(known) = state.keys.get(key) {
            return Err(*known);
        }
        state.keys.insert(key.to_owned(), Key::Pending);
        Ok(())
    }

    /// The commit that took the key led to nothing.
    pub fn free_key(&self, key: &str) {
        self.state.lock().keys.remove(key);
    }

    /// The commit that took the key is in the journal.
    pub fn bind_key(&self, key: &str, batch: BatchId, lsn: Lsn) {
        let mut state = self.state.lock();
        state.keys.insert(key.to_owned(), Key::Bound(batch, lsn));
        state.leaving.push_back((lsn, key.to_owned()));
    }

    /// What is known of a key, the views apart.
    pub fn key(&self, key: &str) -> Option<Key> {
        self.state.lock().keys.get(key).copied()
    }

    /// Lets keys go that the views cover.
    pub fn sweep(&self, projected: Lsn) {
        let mut state = self.state.lock();
        while let Some((lsn, _)) = state.leaving.front() {
            if *lsn > projected {
                break;
            }
            if let Some((_, key)) = state.leaving.pop_front() {
                state.keys.remove(&key);
            }
        }
    }

    /// Takes nothing new from now on.
    pub fn stop(&self) {
        self.state.lock().stopping = true;
    }

    /// Takes nothing new any more.
    pub fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Payments that are not final, and uploads on their way.
    pub fn depth(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.open_payments, state.uploads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_leave_single_payments_their_places() {
        let limits = Limits { open_payments_max: 10_000, uploads_max: 1, disk_floor_bytes: 0 };
        let intake = Intake::new(limits, 0);
        assert_eq!(intake.open_upload(1, false), Ok(()));
        assert_eq!(intake.open_upload(1, false), Err(Busy::Overloaded));
        for _ in 0..SINGLES_MAX {
            assert_eq!(intake.open_upload(1, true), Ok(()));
        }
        assert_eq!(intake.open_upload(1, true), Err(Busy::Overloaded));
        intake.close_upload(true);
        assert_eq!(intake.open_upload(1, false), Err(Busy::Overloaded));
        assert_eq!(intake.open_upload(1, true), Ok(()));
    }
}
