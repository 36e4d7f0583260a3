//! Tells the run what is due, from a thread of its own: a busy runtime cannot make it late.

use std::{
    num::NonZeroU64,
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
/// With many arrivals it sleeps at least so long, and then hands over all that is due: at 10,000 a
/// second waking for each of them would take a share of a processor that the run is measured on.
const SLEEP_MIN: Duration = Duration::from_micros(200);
/// So many a second are many. With fewer, each has its own waking: what is slept too long is lag.
const MANY_PER_S: f64 = 4_000.0;
/// How much later than asked the kernel may wake this thread, in nanoseconds; it is 50 us else.
const SLACK: Option<NonZeroU64> = NonZeroU64::new(1);

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
    let sleep_min =
        if schedule.arrivals_per_s() > MANY_PER_S { SLEEP_MIN } else { Duration::from_nanos(1) };
    thread::spawn(move || {
        // Where it is refused, arrivals are 50 us later, and their lag says so.
        let _ = rustix::thread::set_current_timer_slack(SLACK);
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
                thread::sleep(left.clamp(sleep_min, LOOK));
            }
            if due.send(Arrival { number, planned }).is_err() {
                return;
            }
        }
    });
}
