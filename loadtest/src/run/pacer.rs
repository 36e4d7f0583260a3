//! Tells the run what is due, from a thread of its own: a busy runtime cannot make it late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use super::schedule::Schedule;

/// It looks this often whether it should stop.
const LOOK: Duration = Duration::from_millis(100);
/// It sleeps at least so long, and then hands over all that is due: at 10,000 arrivals a second
/// waking for each of them would take a share of a processor that the run is measured on.
const SLEEP_MIN: Duration = Duration::from_micros(200);

/// One arrival: payments that are due together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Its number, from 0.
    pub number: u64,
    /// When it is due.
    pub planned: Instant,
}

/// Hands over every arrival of `schedule` when it is due, to each of `due` in turn, until the end
/// or until `stop`.
pub(crate) fn pace(
    schedule: &Schedule,
    start: Instant,
    stop: &Arc<AtomicBool>,
    due: Vec<UnboundedSender<Arrival>>,
) {
    let (arrivals, stop) = (schedule.arrivals(), Arc::clone(stop));
    thread::spawn(move || {
        for ((number, after), due) in (0..).zip(arrivals).zip(due.iter().cycle()) {
            let planned = start + after;
            loop {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let left = planned.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                thread::sleep(left.clamp(SLEEP_MIN, LOOK));
            }
            if due.send(Arrival { number, planned }).is_err() {
                return;
            }
        }
    });
}
