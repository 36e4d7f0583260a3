//! Which node an order goes to.

/// A node as a place for one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Connected, its breaker not open.
    pub usable: bool,
    /// Payments in flight there, plus orders of the same priority that wait: each priority has
    /// room of its own, so that one that waits keeps no other one out.
    pub load: u32,
    /// How many payments may be in flight there.
    pub window: u32,
    /// Its channels carry the amount, if they were idle.
    pub carries: bool,
}

impl Candidate {
    /// It takes another order, if it carries it.
    pub fn has_room(&self) -> bool {
        self.usable && self.load < self.window.saturating_mul(WINDOWS)
    }
}

/// How many windows' worth of orders of a priority may be at a node, what is in flight included:
/// enough that it never runs dry, and few enough that an order can still move.
const WINDOWS: u32 = 2;

/// Where an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// To the node with this index.
    Node(usize),
    /// Nowhere now: every node that could take it is busy.
    Busy,
    /// Nowhere: no node can be used.
    NoNode,
}

/// Chooses the node with the least load for its window, among those that carry the amount if any
/// does, and another than `avoid` if possible.
pub fn choose(candidates: &[Candidate], avoid: Option<usize>) -> Choice {
    let carried = candidates.iter().any(|node| node.usable && node.carries);
    let fits = |node: &Candidate| node.usable && (node.carries || !carried);
    let others = candidates.iter().enumerate().any(|(at, node)| fits(node) && Some(at) != avoid);
    let possible = || {
        candidates
            .iter()
            .enumerate()
            .filter(|&(at, node)| fits(node) && !(others && Some(at) == avoid))
    };
    if possible().next().is_none() {
        return Choice::NoNode;
    }
    let free = possible().filter(|(_, node)| node.has_room());
    // a/b < c/d for positive b and d, without division.
    let least = free.min_by(|(_, a), (_, b)| {
        let left = u64::from(a.load) * u64::from(b.window.max(1));
        let right = u64::from(b.load) * u64::from(a.window.max(1));
        left.cmp(&right)
    });
    least.map_or(Choice::Busy, |(at, _)| Choice::Node(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(load: u32, window: u32) -> Candidate {
        Candidate { usable: true, load, window, carries: true }
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one fleet and the choice.
    fn the_least_loaded_node_that_can_is_chosen() {
        let down = Candidate { usable: false, ..node(0, 10) };
        let poor = Candidate { carries: false, ..node(0, 10) };
        for (fleet, avoid, choice) in [
            (vec![node(5, 10), node(5, 20)],  None,    Choice::Node(1)),
            (vec![node(5, 10), node(5, 20)],  Some(1), Choice::Node(0)),
            (vec![node(20, 10), node(40, 20)], None,   Choice::Busy),
            (vec![down, node(9, 10)],         None,    Choice::Node(1)),
            (vec![down, node(9, 10)],         Some(1), Choice::Node(1)),
            (vec![poor, node(9, 10)],         None,    Choice::Node(1)),
            (vec![poor, down],                None,    Choice::Node(0)),
            (vec![down],                      None,    Choice::NoNode),
            (vec![],                          None,    Choice::NoNode),
        ] {
            assert_eq!(choose(&fleet, avoid), choice, "{fleet:?} {avoid:?}");
        }
    }
}
