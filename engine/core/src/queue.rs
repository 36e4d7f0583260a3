//! What waits at a node, by priority: HIGH overtakes, LOW does not starve for ever.

use std::collections::VecDeque;

use crate::order::Priority;

/// Of so many items one is of the lowest priority that waits, and one of NORMAL.
const FAIR_SHARE: u32 = 16;

/// Three lanes in one queue.
#[derive(Clone, Debug)]
pub struct Queue<T> {
    high: VecDeque<T>,
    normal: VecDeque<T>,
    low: VecDeque<T>,
    taken: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        let (high, normal, low) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Queue { high, normal, low, taken: 0 }
    }
}

impl<T> Queue<T> {
    /// Adds an item at the end of its lane.
    pub fn push(&mut self, priority: Priority, item: T) {
        match priority {
            Priority::High => self.high.push_back(item),
            Priority::Normal => self.normal.push_back(item),
            Priority::Low => self.low.push_back(item),
        }
    }

    /// Takes the next item: of the highest priority, but of sixteen one of the lowest and one of
    /// NORMAL, so that neither HIGH nor both others together keep one out for ever.
    pub fn pop(&mut self) -> Option<T> {
        self.taken = self.taken.wrapping_add(1);
        let mut lanes = [&mut self.high, &mut self.normal, &mut self.low];
        match self.taken % FAIR_SHARE {
            0 => lanes.reverse(),
            8 => lanes.swap(0, 1),
            _ => {}
        }
        lanes.into_iter().find_map(VecDeque::pop_front)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.high.len() + self.normal.len() + self.low.len()
    }

    /// How many wait of each priority, in the order of [`Priority::ALL`].
    pub fn lens(&self) -> [usize; 3] {
        [self.high.len(), self.normal.len(), self.low.len()]
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes everything out, the highest priority first.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.high.drain(..).chain(self.normal.drain(..)).chain(self.low.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_overtakes_and_low_gets_a_sixteenth() {
        let mut queue = Queue::default();
        (0..32).for_each(|_| queue.push(Priority::Low, "low"));
        (0..32).for_each(|_| queue.push(Priority::High, "high"));
        let first: Vec<_> = (0..32).filter_map(|_| queue.pop()).collect();
        assert_eq!(first.iter().filter(|&&item| item == "low").count(), 2);
        assert_eq!(first[0], "high");
        assert_eq!((queue.len(), queue.lens()), (32, [2, 0, 30]));
    }

    #[test]
    fn no_priority_waits_for_ever() {
        let mut queue = Queue::default();
        for (priority, name) in [(Priority::High, "high"), (Priority::Low, "low")] {
            (0..64).for_each(|_| queue.push(priority, name));
        }
        queue.push(Priority::Normal, "normal");
        let first: Vec<_> = (0..16).filter_map(|_| queue.pop()).collect();
        assert!(first.contains(&"normal") && first.contains(&"low"), "{first:?}");
    }
}
