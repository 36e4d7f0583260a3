//! The nodes that the engine pays over. They come, change and go while it runs (rule E22).

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use fulgurite_core::{Event, NodeName, book::Book, port::Journal};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use crate::{
    engine::Engine,
    message::NodeMessage,
    slot::{NodeSlot, Presence},
    start::NodeOptions,
    supervisor::Task,
};

/// The nodes by index. A node keeps its index as long as the engine runs; one that left keeps it,
/// too, and is found by nobody.
#[derive(Default)]
pub struct Fleet(RwLock<Vec<Arc<NodeSlot>>>);

impl Fleet {
    /// The nodes of a start, each at its own index.
    pub fn new(nodes: Vec<Arc<NodeSlot>>) -> Fleet {
        Fleet(RwLock::new(nodes))
    }

    /// The node with this index, also when it left.
    ///
    /// # Panics
    /// Without such an index: they are given here alone.
    pub fn at(&self, index: usize) -> Arc<NodeSlot> {
        Arc::clone(&self.0.read()[index])
    }

    /// The node with this name, unless it left.
    pub fn find(&self, name: &str) -> Option<Arc<NodeSlot>> {
        self.0.read().iter().find(|node| *node.name == *name && !node.is_gone()).cloned()
    }

    /// Every node that has not left.
    pub fn present(&self) -> Vec<Arc<NodeSlot>> {
        self.0.read().iter().filter(|node| !node.is_gone()).cloned().collect()
    }

    /// Every node by its index, those that left included.
    pub fn every(&self) -> Vec<Arc<NodeSlot>> {
        self.0.read().clone()
    }

    /// Adds a node at the next index.
    pub(crate) fn add(&self, make: impl FnOnce(usize) -> NodeSlot) -> Arc<NodeSlot> {
        let mut nodes = self.0.write();
        let slot = Arc::new(make(nodes.len()));
        nodes.push(Arc::clone(&slot));
        slot
    }
}

/// What a new configuration changes of the fleet.
#[derive(Default)]
pub struct FleetChange {
    /// Nodes that were not there.
    pub join: Vec<NodeOptions>,
    /// Nodes with another address, other files or other limits: what they have in flight is asked
    /// for over new connections.
    pub renew: Vec<NodeOptions>,
    /// Nodes that leave, by name.
    pub part: Vec<NodeName>,
}

/// What a change is, for the supervisor.
pub(crate) enum Change {
    /// A node that was not there.
    Join(NodeOptions),
    /// The node with this index has other options.
    Renew(usize, NodeOptions),
    /// The node with this index leaves.
    Part(usize),
}

/// Nodes that may not leave: attempts are open there (rule E22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillOpen(Vec<(NodeName, u32)>);

impl fmt::Display for StillOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (node, attempts)) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let (s, are) = if *attempts == 1 { ("", "is") } else { ("s", "are") };
            write!(
                f,
                "{comma}node `{node}` is missing, and {attempts} attempt{s} {are} open there"
            )?;
        }
        f.write_str(
            ": put it back, drain it (`fulgurite node drain NODE`), and take it out when they have \
             ended; if it is lost for ever, resolve them first (`fulgurite node resolve NODE`)",
        )
    }
}

impl std::error::Error for StillOpen {}

/// Why the fleet stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetRefused {
    /// Attempts are open at a node that was to leave.
    #[error(transparent)]
    StillOpen(#[from] StillOpen),
    /// A node that was to leave did not become still.
    #[error("node `{0}` did not come to rest: drain it first, then reload again")]
    Busy(NodeName),
}

/// Rule E22: a start without a node that has open attempts is refused.
///
/// # Errors
/// Every such node with the number of its open attempts.
pub fn all_configured(book: &Book, names: &[&str]) -> Result<(), StillOpen> {
    still_open(book.open_attempts(), |node| !names.contains(&node))
}

fn still_open(
    open: BTreeMap<NodeName, u32>,
    leaves: impl Fn(&str) -> bool,
) -> Result<(), StillOpen> {
    let stay: Vec<_> = open.into_iter().filter(|(node, _)| leaves(node)).collect();
    if stay.is_empty() { Ok(()) } else { Err(StillOpen(stay)) }
}

/// How often a node that leaves is looked at until it is still.
const LOOKS_MAX: u32 = 50;
/// The time between two looks.
const LOOK_EACH: Duration = Duration::from_millis(20);

impl Engine {
    /// Changes the fleet, all of it or nothing. When it returns, nodes that join or are renewed
    /// are on their way.
    ///
    /// # Errors
    /// When a node that is to leave has open attempts.
    pub async fn change_fleet(&self, change: FleetChange) -> Result<(), FleetRefused> {
        let FleetChange { join, renew, part } = change;
        let leaving: Vec<_> = part.iter().filter_map(|name| self.shared.nodes.find(name)).collect();
        for node in &leaving {
            node.set_presence(Presence::Leaving);
        }
        if let Err(refused) = self.are_still(&leaving).await {
            for node in &leaving {
                node.set_presence(Presence::InUse);
            }
            return Err(refused);
        }
        let part = leaving.iter().map(|node| Change::Part(node.index));
        let renew = renew.into_iter().filter_map(|options| {
            let node = self.shared.nodes.find(&options.name)?;
            Some(Change::Renew(node.index, options))
        });
        for change in part.chain(renew).chain(join.into_iter().map(Change::Join)) {
            self.tasks.deliver(Task::Fleet(Box::new(change)));
        }
        Ok(())
    }

    /// Waits until nothing new can start at the nodes, and looks what is open there then.
    async fn are_still(&self, leaving: &[Arc<NodeSlot>]) -> Result<(), FleetRefused> {
        let mut refused = Ok(());
        for _ in 0..LOOKS_MAX {
            refused = self.look_whether_still(leaving).await;
            if refused.is_ok() {
                return refused;
            }
            tokio::time::sleep(LOOK_EACH).await;
        }
        refused
    }

    async fn look_whether_still(&self, leaving: &[Arc<NodeSlot>]) -> Result<(), FleetRefused> {
        for node in leaving {
            let (reply, still) = oneshot::channel();
            node.inbox.deliver(NodeMessage::Leave(reply));
            // An actor that died with the question is asked again.
            if !still.await.unwrap_or(false) {
                return Err(FleetRefused::Busy(Arc::clone(&node.name)));
            }
        }
        if leaving.is_empty() {
            return Ok(());
        }
        // What was decided before is in the read model then (rule E16).
        let barrier = self.shared.journal.append(Event::Barrier);
        Arc::clone(self.shared.journal.projected()).wait_owned(barrier).await;
        let open = self.views.read_open(Book::open_attempts);
        let leaves = |name: &str| leaving.iter().any(|node| *node.name == *name);
        Ok(still_open(open, leaves)?)
    }
}
