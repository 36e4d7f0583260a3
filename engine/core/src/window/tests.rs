//! Tables: a window at nodes of different kinds.

use std::collections::VecDeque;

use super::*;

const LIMITS: Limits = Limits { start: 64, min: 4, max: 1_000 };

/// A node that pays at most `cap` a second, in turn, each in `latency_ms` at least.
#[derive(Clone, Copy)]
struct Node {
    cap: i64,
    latency_ms: i64,
}

/// A window and its node, by the millisecond.
struct Run {
    window: Window,
    now_ms: i64,
    /// When what is in flight comes through.
    ends: VecDeque<i64>,
    starts: VecDeque<i64>,
    /// Thousandths of payments that wait.
    backlog: i64,
}

impl Run {
    fn new(limits: Limits) -> Run {
        let window = Window::new(limits);
        Run { window, now_ms: 0, ends: VecDeque::new(), starts: VecDeque::new(), backlog: 0 }
    }

    /// Offers so many a second for so long; returns what was paid in the last quarter of the time,
    /// a second.
    fn offer(&mut self, node: Node, offered: i64, seconds: i64) -> i64 {
        let (until, mut paid) = (self.now_ms + seconds * 1_000, 0);
        let counted_from = self.now_ms + seconds * 750;
        while self.now_ms < until {
            self.now_ms += 1;
            self.backlog += offered;
            while self.ends.front().is_some_and(|at| *at <= self.now_ms) {
                let started = self.starts.pop_front().expect("what ends has started");
                self.window.took(self.now_ms - started);
                self.window.succeeded(self.in_flight(), UnixMs(self.now_ms));
                self.ends.pop_front();
                paid += i64::from(self.now_ms > counted_from);
            }
            while self.in_flight() < self.window.size() && self.backlog >= 1_000 {
                self.backlog -= 1_000;
                let turn = self.ends.back().map_or(0, |last| last + 1_000 / node.cap);
                self.starts.push_back(self.now_ms);
                self.ends.push_back(turn.max(self.now_ms + node.latency_ms));
            }
            self.window.filled(self.in_flight());
        }
        paid * 4 / seconds
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("a window is small")
    }
}

#[test]
#[rustfmt::skip] // A table: one line is one node, how long it is offered more than it can, and what
// it must pay a second then; and the largest window that it may have at the end.
fn a_window_opens_until_the_node_pays_what_it_can() {
    for (cap, latency_ms, seconds, least, largest) in [
        (50,    20,    20, 48,  256), // Any window will do: no more than twice twice the start.
        (50,    2_000, 20, 48,  400), // 50/s for 2 s are 100 in flight.
        (200,   2_000, 24, 190, 1_000),
        (1_000, 100,   10, 950, 800), // 100 in flight.
        (1_000, 10,    10, 950, 256),
        (1_000, 900,   30, 855, 1_000), // 1,000 in flight are as many as there may be.
    ] {
        let mut run = Run::new(LIMITS);
        let paid = run.offer(Node { cap, latency_ms }, 2 * cap, seconds);
        let size = run.window.size();
        assert!(paid >= least, "{cap}/s, {latency_ms} ms: {paid}/s with a window of {size}");
        assert!(size <= largest, "{cap}/s, {latency_ms} ms: a window of {size}");
    }
}

#[test]
#[rustfmt::skip] // A table: one line is a node's cap and latency and what is offered a second.
fn a_node_that_could_do_more_keeps_the_window_that_its_load_needs() {
    for (cap, latency_ms, offered) in [(500, 2_000, 180), (500, 2_000, 300), (2_000, 500, 900)] {
        let mut run = Run::new(LIMITS);
        run.offer(Node { cap, latency_ms }, offered, 30);
        for stretch in 0..12 {
            let paid = run.offer(Node { cap, latency_ms }, offered, 8);
            assert!(paid >= offered * 97 / 100, "{offered}/s: {paid}/s in stretch {stretch}");
        }
    }
}

#[test]
fn a_node_that_gets_slower_gets_a_larger_window_and_one_that_gets_better_too() {
    let mut run = Run::new(LIMITS);
    assert!(run.offer(Node { cap: 500, latency_ms: 20 }, 400, 10) >= 390);
    let slow = Node { cap: 500, latency_ms: 1_500 };
    assert!(run.offer(slow, 400, 40) >= 390, "a window of {}", run.window.size());
    let mut run = Run::new(LIMITS);
    run.offer(Node { cap: 100, latency_ms: 1_000 }, 2_000, 30);
    let held = run.window.size();
    let better = Node { cap: 800, latency_ms: 1_000 };
    let paid = run.offer(better, 2_000, 120);
    assert!(paid >= 760, "{paid}/s with a window of {}, {held} before", run.window.size());
}

#[test]
fn overload_takes_a_quarter_once_and_then_it_grows_slowly_until_it_is_calm() {
    let mut window = Window::new(Limits { start: 20, min: 2, max: 1_000 });
    window.overloaded(UnixMs(0));
    window.overloaded(UnixMs(HOLD_MS - 1));
    assert_eq!(window.size(), 15);
    let pay = |window: &mut Window, from_ms: i64, rounds: i64| {
        for round in 0..rounds {
            (0..window.size() + 1).for_each(|at| {
                let now = from_ms + round * 100 + 100 * i64::from(at) / i64::from(window.size());
                window.succeeded(window.size(), UnixMs(now));
            });
        }
    };
    pay(&mut window, HOLD_MS, 4);
    assert!((17..=19).contains(&window.size()), "one a round: {}", window.size());
    pay(&mut window, HOLD_MS + CALM_MS, 4);
    assert!(window.size() >= 35, "it doubles again: {}", window.size());
    (0..60).for_each(|at| window.overloaded(UnixMs(100_000 + at * HOLD_MS)));
    assert_eq!(window.size(), 3, "a quarter of three is nothing");
    let mut least = Window::new(Limits { start: 4, min: 4, max: 100 });
    least.overloaded(UnixMs(0));
    assert_eq!(least.size(), 4);
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    let mut window = Window::new(Limits { start: 10, min: 2, max: 1_000 });
    (0..1_000).for_each(|at| window.succeeded(4, UnixMs(at * 10)));
    assert_eq!(window.size(), 10);
    for at in 0..1_000 {
        window.filled(8);
        window.succeeded(8, UnixMs(at * 10));
    }
    assert_eq!(window.size(), 10, "nobody waited");
}
