//! The books of a run: each payment that was due ends in exactly one way, at one time.
//!
//! Latencies count from the planned time and belong to the second in which the payment was due.
//! A second is closed when all that was due in it has ended.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{
    books::Books,
    stages::{Closed, Look, MICROS_MAX, Stages, Told, histogram},
};
use crate::result::{Counts, Quantiles, Second, Stage};

/// How a payment became final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    Failed,
    Unresolved,
}

/// Why a payment ended without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Its deadline passed after it was sent.
    TimedOut,
    /// Its deadline passed before.
    Unsent,
    /// The run was interrupted.
    Abandoned,
}

/// A second that is not closed.
struct Interval {
    stages: Stages,
    open: u64,
}

/// The books.
pub(crate) struct Tally {
    start: Instant,
    timeout: Duration,
    counts: Counts,
    codes: BTreeMap<String, u64>,
    all: Stages,
    seconds: Vec<Second>,
    /// The open seconds; the first of them is number `closed`.
    intervals: VecDeque<Interval>,
    closed: usize,
    /// Empty ones, for the seconds that come: their memory was touched before.
    spare: Vec<Stages>,
    /// Outcomes since the live view looked last, by the time that they came.
    recent: Histogram<u64>,
    last_final: Option<Instant>,
    /// Final states that came while arrivals were due.
    final_in_time: u64,
    /// Those of them that were paid.
    paid_in_time: u64,
    due_until: Instant,
    /// What was due before has its time until `due_until`.
    early_until: Instant,
    /// Payments that were due before `early_until`, and those of them that were final in time.
    early: (u64, u64),
}

/// What a payment may take, or half of the run when that is less, and count as one with which the
/// engine kept up.
const IN_FLIGHT: Duration = Duration::from_secs(1);

impl Tally {
    /// Books that begin at `start`; arrivals are due for `lasts`.
    pub fn new(start: Instant, lasts: Duration, timeout: Duration) -> Tally {
        Tally {
            start,
            timeout,
            counts: Counts::default(),
            codes: BTreeMap::new(),
            all: Stages::new(),
            seconds: Vec::new(),
            intervals: VecDeque::new(),
            closed: 0,
            spare: Vec::new(),
            recent: histogram(),
            last_final: None,
            final_in_time: 0,
            paid_in_time: 0,
            due_until: start + lasts,
            early_until: start + lasts.saturating_sub(IN_FLIGHT).max(lasts / 2),
            early: (0, 0),
        }
    }

    /// `count` payments were due at `planned` and are begun now.
    pub fn offered(&mut self, planned: Instant, now: Instant, count: u64) {
        self.counts.offered += count;
        self.early.0 += if planned <= self.early_until { count } else { 0 };
        let second = self.number(planned);
        self.interval(second).open += count;
        self.second(second).offered += count;
        self.record(Stage::Lag, planned, now.saturating_duration_since(planned), count);
    }

    /// Their request starts.
    pub fn sent(&mut self, count: u64) {
        self.counts.sent += count;
    }

    /// They were acknowledged.
    pub fn acked(&mut self, planned: Instant, now: Instant, count: u64) {
        self.counts.acked += count;
        self.record(Stage::Ack, planned, now.saturating_duration_since(planned), count);
    }

    /// One ended as the payee or the node decided. `sent` is when its request started.
    pub fn ended(&mut self, planned: Instant, sent: Instant, now: Instant, end: End) {
        match end {
            End::Succeeded => self.counts.succeeded += 1,
            End::Failed => self.counts.failed += 1,
            End::Unresolved => self.counts.unresolved += 1,
        }
        if end != End::Unresolved {
            let micros = u64::try_from((now - planned).as_micros()).unwrap_or(MICROS_MAX);
            self.recent.saturating_record(micros.max(1));
            self.record(Stage::Outcome, planned, now.saturating_duration_since(planned), 1);
            self.record(Stage::Service, planned, now.saturating_duration_since(sent), 1);
            let second = self.number(now);
            let (in_time, paid) = (now <= self.due_until, end == End::Succeeded);
            let second = self.second(second);
            second.done += 1;
            second.paid += u64::from(paid);
            self.last_final = Some(now);
            self.final_in_time += u64::from(in_time);
            self.early.1 += u64::from(in_time && planned <= self.early_until);
            self.paid_in_time += u64::from(in_time && paid);
        }
        self.end(planned, 1);
    }

    /// They were refused, or their call broke (`is_error`): nobody knows what became of them.
    pub fn refused(&mut self, planned: Instant, now: Instant, count: u64, is_error: bool) {
        *if is_error { &mut self.counts.errors } else { &mut self.counts.refused } += count;
        self.record(Stage::Refusal, planned, now.saturating_duration_since(planned), count);
        let second = self.number(now);
        self.second(second).refused += count;
        self.end(planned, count);
    }

    /// They have no outcome, and will get none here. Those past their deadline count with it: a
    /// client waited at least so long.
    pub fn lost(&mut self, planned: Instant, count: u64, lost: Lost) {
        match lost {
            Lost::TimedOut => self.counts.timed_out += count,
            Lost::Unsent => self.counts.unsent += count,
            Lost::Abandoned => self.counts.abandoned += count,
        }
        if lost != Lost::Abandoned {
            self.record(Stage::Outcome, planned, self.timeout, count);
        }
        self.end(planned, count);
    }

    /// A reason was given `count` times.
    pub fn code(&mut self, code: &str, count: u64) {
        match self.codes.get_mut(code) {
            Some(known) => *known += count,
            None => drop(self.codes.insert(code.to_owned(), count)),
        }
    }

    /// A watch ended early and was opened again.
    pub fn reopened(&mut self) {
        self.counts.watches_reopened += 1;
    }

    /// How many payments are open.
    pub fn open(&self) -> u64 {
        self.counts.offered - self.counts.ended()
    }

    /// What there is to show. What `recent` had is taken out and `empty` is in its place.
    pub fn look(&mut self, empty: Histogram<u64>) -> Look {
        Look {
            counts: self.counts.clone(),
            codes: self.codes.clone(),
            open: self.open(),
            recent: std::mem::replace(&mut self.recent, empty),
            lag: self.all.of(Stage::Lag).clone(),
        }
    }

    /// Takes out the seconds that are over and in which nothing is open; notes what is open now.
    pub fn close_over(&mut self, now: Instant) -> Vec<Closed> {
        let (current, open) = (self.number(now), self.open());
        self.second(current).open = open;
        let mut over = Vec::new();
        while self.closed < current && self.intervals.front().is_some_and(|first| first.open == 0) {
            over.extend(self.close());
        }
        over
    }

    /// Takes out every second: the run has ended.
    pub fn close_all(&mut self) -> Vec<Closed> {
        std::iter::from_fn(|| self.close()).collect()
    }

    /// What a closed second says, and the histograms of it again, empty.
    pub fn closed(&mut self, number: usize, told: Told, empty: Stages) {
        let second = self.second(number);
        (second.outcome, second.ack, second.lag_p99_ms) = (told.outcome, told.ack, told.lag_p99_ms);
        self.spare.push(empty);
    }

    /// The end, after every second was closed.
    pub fn finish(self) -> Books {
        let took = self.last_final.map(|last| last.saturating_duration_since(self.start));
        let latency =
            Stage::ALL.map(|stage| (stage.name().to_owned(), Quantiles::of(self.all.of(stage))));
        let [_, _, outcome, service, _] = self.all.into_all();
        let all = (self.counts.offered, self.final_in_time);
        Books {
            counts: self.counts,
            codes: self.codes,
            latency: latency.into_iter().collect(),
            seconds: self.seconds,
            outcome,
            service,
            took: took.unwrap_or_default(),
            final_in_time: self.final_in_time,
            paid_in_time: self.paid_in_time,
            kept_up: kept_up(self.early).or_else(|| kept_up(all)),
        }
    }

    fn end(&mut self, planned: Instant, count: u64) {
        let second = self.number(planned);
        self.interval(second).open -= count;
    }

    fn record(&mut self, stage: Stage, planned: Instant, time: Duration, count: u64) {
        let second = self.number(planned);
        self.interval(second).stages.record(stage, time, count);
        self.all.record(stage, time, count);
    }

    fn number(&self, time: Instant) -> usize {
        usize::try_from(time.saturating_duration_since(self.start).as_secs()).unwrap_or(usize::MAX)
    }

    fn second(&mut self, number: usize) -> &mut Second {
        if self.seconds.len() <= number {
            self.seconds.resize_with(number + 1, Second::default);
        }
        &mut self.seconds[number]
    }

    /// The second, or the first that is open: a generator that stalled begins what was due when
    /// nothing of that second was open any more.
    fn interval(&mut self, number: usize) -> &mut Interval {
        let at = number.saturating_sub(self.closed);
        while self.intervals.len() <= at {
            let stages = self.spare.pop().unwrap_or_else(Stages::new);
            self.intervals.push_back(Interval { stages, open: 0 });
        }
        &mut self.intervals[at]
    }

    fn close(&mut self) -> Option<Closed> {
        let Interval { stages, .. } = self.intervals.pop_front()?;
        let number = self.closed;
        self.closed += 1;
        Some(Closed { number, stages })
    }
}

/// Of so many payments, the share of those that were final in time.
fn kept_up((due, in_time): (u64, u64)) -> Option<f64> {
    (due > 0).then(|| in_time as f64 / due as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::run::clerk::Clerk;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn close(tally: Tally, now: Instant) -> Tally {
        let books = Mutex::new(tally);
        Clerk::new(None).tick(&books, now).unwrap();
        books.into_inner().unwrap()
    }

    fn finish(tally: Tally) -> Books {
        let empty = Tally::new(Instant::now(), TIMEOUT, TIMEOUT);
        Clerk::new(None).finish(&Mutex::new(tally), empty).unwrap()
    }

    #[test]
    fn whatever_is_offered_ends_in_exactly_one_way() {
        let start = Instant::now();
        let mut tally = Tally::new(start, ms(3_000), TIMEOUT);
        let at = |millis| start + ms(millis);
        tally.offered(at(10), at(11), 10);
        tally.sent(9);
        tally.ended(at(10), at(11), at(40), End::Succeeded);
        tally.ended(at(10), at(11), at(50), End::Failed);
        tally.ended(at(10), at(11), at(60), End::Unresolved);
        tally.refused(at(10), at(20), 2, false);
        tally.refused(at(10), at(20), 1, true);
        assert_eq!(tally.open(), 4);
        tally.lost(at(10), 2, Lost::TimedOut);
        tally.lost(at(10), 1, Lost::Unsent);
        tally.lost(at(10), 1, Lost::Abandoned);
        assert_eq!(tally.open(), 0);
        let books = finish(tally);
        assert_eq!((books.counts.offered, books.counts.ended()), (10, 10));
        assert_eq!((books.counts.refused, books.counts.errors, books.counts.unsent), (2, 1, 1));
        // What failed is final, and nobody was paid.
        assert_eq!((books.final_in_time, books.paid_in_time), (2, 1));
        assert_eq!((books.seconds[0].done, books.seconds[0].paid), (2, 1));
        // Two outcomes, and three that are counted at their deadline.
        let outcome = &books.latency["outcome"];
        assert_eq!(outcome.count, 5);
        assert!((4_990.0..5_010.0).contains(&outcome.max_ms), "{outcome:?}");
        assert_eq!(books.latency["refusal"].count, 3);
    }

    #[test]
    fn latency_counts_from_the_planned_time_and_belongs_to_the_planned_second() {
        let start = Instant::now();
        let mut tally = Tally::new(start, ms(3_000), TIMEOUT);
        let at = |millis| start + ms(millis);
        // The generator is two seconds late: the service is fast, and the latency is not.
        tally.offered(at(500), at(2_500), 1);
        tally.sent(1);
        tally.ended(at(500), at(2_500), at(2_510), End::Succeeded);
        let books = finish(tally);
        let (outcome, service) = (&books.latency["outcome"], &books.latency["service"]);
        assert!((2_000.0..2_020.0).contains(&outcome.max_ms), "{outcome:?}");
        assert!((9.0..11.0).contains(&service.max_ms), "{service:?}");
        assert!((1_990.0..2_010.0).contains(&books.latency["lag"].max_ms));
        assert_eq!((books.seconds[0].offered, books.seconds[0].done), (1, 0));
        assert_eq!((books.seconds[2].offered, books.seconds[2].done), (0, 1));
        assert_eq!((books.seconds[0].outcome.count, books.seconds[2].outcome.count), (1, 0));
    }

    #[test]
    fn what_is_in_flight_at_the_end_is_not_held_against_the_engine() {
        let start = Instant::now();
        let kept_up = |times: &[(u64, u64)]| {
            let mut tally = Tally::new(start, ms(3_000), TIMEOUT);
            for (due, ends) in times {
                let (due, ends) = (start + ms(*due), start + ms(*ends));
                tally.offered(due, due, 1);
                tally.ended(due, due, ends, End::Succeeded);
            }
            finish(tally).kept_up
        };
        // Due in the last second: whether it is final in time or not.
        assert_eq!(kept_up(&[(100, 200), (2_900, 3_100), (2_100, 2_200)]), Some(1.0));
        // Due before, and not final in time.
        assert_eq!(kept_up(&[(100, 200), (2_000, 3_001)]), Some(0.5));
        // Nothing was due before: all of it counts.
        assert_eq!(kept_up(&[(2_900, 2_950), (2_950, 3_100)]), Some(0.5));
        assert_eq!(kept_up(&[]), None);
    }

    #[test]
    fn a_second_stays_open_until_all_that_was_due_in_it_has_ended() {
        let start = Instant::now();
        let mut tally = Tally::new(start, ms(3_000), TIMEOUT);
        let at = |millis| start + ms(millis);
        tally.offered(at(100), at(100), 1);
        tally = close(tally, at(1_500));
        assert_eq!((tally.closed, tally.seconds[1].open), (0, 1));
        tally.offered(at(1_600), at(1_600), 1);
        tally.ended(at(1_600), at(1_600), at(1_610), End::Succeeded);
        tally.ended(at(100), at(100), at(1_700), End::Succeeded);
        tally = close(tally, at(2_100));
        assert_eq!(tally.closed, 2);
        assert_eq!(finish(tally).seconds[1].outcome.count, 1);
    }
}
