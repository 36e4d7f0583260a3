//! Moments to come, each of one thing that waits for it.

use std::{collections::BTreeSet, hash::Hash};

use crate::{map::HashMap, time::UnixMs};

/// What waits, by its moment: whoever is woken looks at what is due, not at all that waits.
#[derive(Clone, Debug)]
pub struct Moments<T> {
    order: BTreeSet<(UnixMs, T)>,
    of: HashMap<T, UnixMs>,
    longest_ms: i64,
}

impl<T: Copy + Ord + Hash> Moments<T> {
    /// Nothing waits yet, and nothing will for longer than `longest_ms` milliseconds
    /// ([`UnixMs::has_come`]); `i64::MAX` when it may wait for any time.
    pub fn new(longest_ms: i64) -> Moments<T> {
        Moments { order: BTreeSet::new(), of: HashMap::default(), longest_ms }
    }

    /// It waits until then, whatever it waited for before.
    pub fn set(&mut self, what: T, at: UnixMs) {
        self.remove(what);
        self.of.insert(what, at);
        self.order.insert((at, what));
    }

    /// Until when it waits.
    pub fn at(&self, what: T) -> Option<UnixMs> {
        self.of.get(&what).copied()
    }

    /// It waits no more.
    pub fn remove(&mut self, what: T) {
        if let Some(at) = self.of.remove(&what) {
            self.order.remove(&(at, what));
        }
    }

    /// Takes one whose moment has come, the earliest first.
    pub fn take_due(&mut self, now: UnixMs) -> Option<T> {
        // Only the last can be too far ahead while the first is not due.
        let due = |&&(at, _): &&(UnixMs, T)| at.has_come(now, self.longest_ms);
        let ends = [self.order.first(), self.order.last()];
        let &(_, what) = ends.into_iter().flatten().find(due)?;
        self.remove(what);
        Some(what)
    }

    /// The moment to look again: `now` when one has come.
    pub fn next(&self, now: UnixMs) -> Option<UnixMs> {
        let (last, _) = self.order.last()?;
        if last.has_come(now, self.longest_ms) {
            return Some(now);
        }
        self.order.first().map(|&(at, _)| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_due(moments: &mut Moments<u32>, now: i64) -> Vec<u32> {
        std::iter::from_fn(|| moments.take_due(UnixMs(now))).collect()
    }

    #[test]
    fn only_what_is_due_is_taken_and_a_clock_that_was_set_back_holds_up_nothing() {
        // (moments, now, due, the next moment after them)
        type Row = (&'static [i64], i64, &'static [u32], Option<i64>);
        let table: [Row; 7] = [
            (&[], 5, &[], None),
            (&[10, 20], 9, &[], Some(10)),
            (&[10, 20, 10], 10, &[0, 2], Some(20)),
            (&[20, 10], 25, &[1, 0], None),
            (&[110], 10, &[], Some(110)),
            (&[111], 10, &[0], None),
            // Set before and after the clock went from 1,000 to 0.
            (&[1_050, 60, 1_000], 0, &[0, 2], Some(60)),
        ];
        for (at, now, due, next) in table {
            let mut moments = Moments::new(100);
            for (what, at) in (0..).zip(at) {
                moments.set(what, UnixMs(*at));
            }
            if let Some(&first) = due.first() {
                assert_eq!(moments.next(UnixMs(now)), Some(UnixMs(now)), "{at:?} holds {first}");
            }
            assert_eq!(all_due(&mut moments, now), due, "{at:?} at {now}");
            assert_eq!(moments.next(UnixMs(now)), next.map(UnixMs), "{at:?} at {now}");
        }
    }

    #[test]
    fn each_waits_for_its_last_moment_alone() {
        let mut moments = Moments::new(i64::MAX);
        for at in [30, 10, 20] {
            moments.set(1, UnixMs(at));
        }
        moments.set(2, UnixMs(5));
        moments.remove(2);
        assert_eq!(all_due(&mut moments, 19), []);
        assert_eq!(all_due(&mut moments, 20), [1]);
        assert_eq!(moments.next(UnixMs(20)), None);
        assert_eq!(all_due(&mut moments, 30), []);
    }
}
