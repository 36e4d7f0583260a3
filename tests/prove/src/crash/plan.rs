//! Who is killed in a cycle, when, and under which load.

use std::time::Duration;

use crate::{preload::Point, random::Random};

/// One cycle.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many orders its batch has.
    pub orders: usize,
    /// When the engine is killed; `None` when only a node is.
    pub engine: Option<Moment>,
    /// The node that is killed as well, and how long it is away.
    pub node: Option<(usize, Duration)>,
}

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after the load began.
    Time(Duration),
    /// When it comes to a point for the so-many-th time.
    Point(Point, u32),
}

/// How many orders a batch has.
const ORDERS: usize = 60;
/// As many as make the journal take a snapshot.
const ORDERS_FOR_SNAPSHOT: usize = 450;

impl Plan {
    /// The plan of a cycle: every second one is killed at a point, all points in turn.
    pub fn draw(cycle: u32, nodes: usize, random: &mut Random) -> Plan {
        let time = Duration::from_millis(random.below(500) as u64);
        let away = Duration::from_millis(50 + random.below(250) as u64);
        let node = Some((random.below(nodes), away));
        if cycle.is_multiple_of(2) {
            let point = Point::ALL[(cycle / 2) as usize % Point::ALL.len()];
            let engine = Some(Moment::Point(point, 1 + random.below(times(point)) as u32));
            let orders = if point == Point::InSnapshot { ORDERS_FOR_SNAPSHOT } else { ORDERS };
            return Plan { orders, engine, node: node.filter(|_| random.one_in(4)) };
        }
        let (engine, node) = match random.below(8) {
            0 | 1 => (None, node),
            2 | 3 => (Some(Moment::Time(time)), node),
            _ => (Some(Moment::Time(time)), None),
        };
        Plan { orders: ORDERS, engine, node }
    }
}

/// How often a cycle passes the point at least, as far as one can tell.
fn times(point: Point) -> usize {
    match point {
        Point::BeforeDispatch | Point::AfterDispatch => 40,
        Point::InRecovery => 30,
        Point::BeforeWrite | Point::BeforeSync | Point::AfterSync | Point::AfterWatermark => 20,
        Point::AfterAnswer | Point::InFlush | Point::InManifest => 6,
        Point::BeforeResultWrite | Point::BeforeResultSync | Point::AfterResultSync => 8,
        Point::InProjection => 4,
        Point::InSnapshot | Point::BeforeRename => 1,
    }
}
