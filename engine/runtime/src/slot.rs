//! Slots: what outlives an actor. Queues, handles and names live here; an actor that is rebuilt
//! finds the work that waits for it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use dashmap::DashMap;
use fulgurite_core::{
    AttemptId, BatchId, Msat, NodeName, UnixMs,
    channel::Room,
    event::SendBounds,
    map::{HashMap, RandomState},
    node::Limits,
    port::{Node, NodeEvent, NodeInfo},
    retry::RetryPolicy,
    standing::Standing,
};
use fulgurite_inbox::{Inbox, inbox};
use fulgurite_journal::JournalHandle;
use parking_lot::Mutex;

use crate::{
    claims::Claims,
    fleet::Fleet,
    intake::Intake,
    message::{BatchMessage, ChannelMessage, NodeMessage},
    metrics::Metrics,
    room::Rooms,
    status::NodeStatus,
    witness::Witness,
};

/// Where an adapter reports.
pub type Sink = Box<dyn Fn(NodeEvent)>;
/// Opens the connection to a node, on the thread that will use it.
pub type OpenNode = Box<dyn Fn(Sink) -> Rc<dyn Node> + Send + Sync>;

/// How sends are made (rules E6, E13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendPolicy {
    /// The least time that a send's macaroon is valid, in milliseconds. One serves the sends of
    /// half as long again, so a macaroon is valid for up to 1.5 times this.
    pub expiry_ms: i64,
    /// `grpc-timeout` of a send, in milliseconds.
    pub deadline_ms: i64,
    /// How much longer than the deadline the fence waits, in milliseconds.
    pub fence_margin_ms: i64,
    /// `timeout_seconds`: for how long lnd starts new HTLCs.
    pub payment_timeout_seconds: u32,
    /// How long after that a payment without an HTLC is stuck (rule E15), in milliseconds.
    pub stuck_after_ms: i64,
    /// An attempt of which the node says nothing for so long is asked for, in milliseconds.
    pub silence_ms_max: i64,
    /// An attempt that takes longer leaves the windows (rule E21), in milliseconds.
    pub long_after_ms: i64,
    /// The most parts of a payment.
    pub parts_max: u32,
}

impl SendPolicy {
    /// When a send that is made at `now` expires, by a node's clock. Many share one time, so that
    /// their macaroon is made once.
    pub fn expiry(&self, now: UnixMs, clock_offset_ms: i64) -> UnixMs {
        let step = (self.expiry_ms / 2).max(1);
        let node_now = now.plus_ms(clock_offset_ms).0;
        UnixMs((node_now.div_euclid(step) + 1) * step + self.expiry_ms)
    }

    /// How late a send of this policy may start a payment.
    pub fn bounds(&self) -> SendBounds {
        let expiry_ms = self.expiry_ms + self.expiry_ms / 2 + 1;
        SendBounds { expiry_ms, deadline_ms: self.deadline_ms }
    }
}

/// Which slot an open batch has.
pub type Directory = DashMap<BatchId, Arc<BatchSlot>, RandomState>;

/// What every actor and door shares.
pub struct Shared {
    /// The one journal.
    pub journal: JournalHandle,
    /// Who owns which payment hash.
    pub claims: Claims,
    /// The slots of open batches.
    pub directory: Directory,
    /// The nodes, by index.
    pub nodes: Fleet,
    /// Which batches wait for room at the nodes.
    pub rooms: Rooms,
    /// What lives, against its limits.
    pub intake: Intake,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Waits between attempts.
    pub retry: RetryPolicy,
    /// How sends are made.
    pub sends: SendPolicy,
    /// How late any send that is open may start a payment, earlier engines' included.
    pub send_bounds: SendBounds,
    /// What stays free of every channel.
    pub channels: fulgurite_core::channel::Limits,
    /// The epoch of this engine.
    pub epoch: u32,
    /// The latest time in the journal when it was recovered: no earlier engine sent long after.
    pub recovered: UnixMs,
    /// What the nodes paid, compared with the journal.
    pub witness: Witness,
    /// The engine ends and its keys are withdrawn (rule E18): nothing starts any more, by rebuilt
    /// actors neither.
    pub withdraws: AtomicBool,
}

impl Shared {
    /// The engine ends: it was told that it is not the only one with its journal.
    pub fn is_withdrawn(&self) -> bool {
        self.withdraws.load(Ordering::Acquire)
    }

    /// The index of the node with this name, unless it left.
    pub fn node_index(&self, name: &str) -> Option<usize> {
        self.nodes.find(name).map(|node| node.index)
    }
}

/// What outlives a batch actor.
pub struct BatchSlot {
    /// Unique in this engine.
    pub id: u64,
    /// The batch, or `None` for the standing slot of single payments.
    pub batch: Option<BatchId>,
    /// Its work.
    pub inbox: Inbox<BatchMessage>,
}

impl BatchSlot {
    /// A slot with an empty inbox, for so many payments.
    pub fn new(id: u64, batch: Option<BatchId>, payments: usize) -> BatchSlot {
        // Requests come by the door. A payment in flight causes few returns at once, and a lane
        // that is full after all spills: small batches need little memory.
        let returns_max = payments.saturating_mul(2).clamp(16, 8_192);
        let limits = inbox::Limits { door_max: 64, returns_max, batch_max: 2_048 };
        BatchSlot { id, batch, inbox: Inbox::new(limits) }
    }
}

/// What a batch actor sees of a node when it chooses one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Board {
    /// Orders may be placed there.
    pub usable: bool,
    /// Its window.
    pub window: u32,
    /// Payments in flight.
    pub in_flight: u32,
    /// Orders that wait, by priority as in [`fulgurite_core::order::Priority::ALL`]; those in its
    /// inbox not counted.
    pub queued: [u32; 3],
    /// What its channels could send together if they were idle.
    pub idle: Msat,
}

/// What is known of an attempt beyond the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The height by which what is in flight comes back; 0 when it is not known.
    pub htlc_expiry_height: u32,
    /// Since when its node has said nothing of it, when it was asked in vain.
    pub silent_since: Option<UnixMs>,
}

/// Whether a node is part of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    InUse,
    /// It is not in the new configuration: nothing new starts there.
    Leaving,
    /// It was.
    Gone,
}

/// What outlives a node actor.
pub struct NodeSlot {
    /// Its place in [`Shared::nodes`].
    pub index: usize,
    /// Its name in the configuration.
    pub name: NodeName,
    /// Its limits.
    pub limits: Mutex<Limits>,
    /// Its work: the lock-free dispatch queue.
    pub inbox: Inbox<NodeMessage>,
    /// What batch actors see of it.
    pub board: Mutex<Board>,
    /// What operators see of it.
    pub status: Mutex<NodeStatus>,
    /// What is known of its attempts beyond the journal; those of which nothing is are left out.
    pub followed: Mutex<HashMap<AttemptId, Followed>>,
    /// What the node said of itself last; `None` while it is not connected.
    pub last_info: Mutex<Option<NodeInfo>>,
    /// How the node stands, as the journal has it.
    pub standing: Mutex<Standing>,
    presence: Mutex<Presence>,
    /// Grows with every actor that is built on the slot (rule E8).
    pub incarnation: AtomicU32,
    /// The last number given to a send or another call: it goes on over rebuilt actors.
    pub number: Mutex<u64>,
    /// How far its payments have been compared with the journal.
    pub compared: Mutex<Seen>,
}

/// How far a node's payments have been compared with the journal (rule E18).
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// What it paid until then, by the engine's clock, has been seen.
    pub until: UnixMs,
    /// It is read on, and the journal says so.
    pub live: bool,
    /// It could not be read, once at least.
    pub tried: bool,
    /// The engine ends: whether its key there is deleted. `None` before the node has answered.
    pub withdrawn: Option<bool>,
}

impl NodeSlot {
    /// A slot with an empty inbox, of a node whose payments were seen until then.
    pub fn new(
        index: usize,
        (name, standing): (NodeName, Standing),
        limits: Limits,
        address: String,
        seen_until: UnixMs,
    ) -> NodeSlot {
        let sizes = inbox::Limits { door_max: 16_384, returns_max: 16_384, batch_max: 2_048 };
        let status = NodeStatus::unknown(Arc::clone(&name), address, &standing.identity_pubkey);
        NodeSlot {
            index,
            status: Mutex::new(status),
            name,
            limits: Mutex::new(limits),
            inbox: Inbox::new(sizes),
            board: Mutex::new(Board::default()),
            followed: Mutex::default(),
            last_info: Mutex::new(None),
            standing: Mutex::new(standing),
            presence: Mutex::new(Presence::InUse),
            incarnation: AtomicU32::new(0),
            number: Mutex::new(0),
            compared: Mutex::new(Seen { until: seen_until, ..Seen::default() }),
        }
    }
}

impl NodeSlot {
    /// New attempts may start there.
    pub fn may_send(&self) -> bool {
        *self.presence.lock() == Presence::InUse && self.standing.lock().may_send()
    }

    /// It left the fleet.
    pub fn is_gone(&self) -> bool {
        *self.presence.lock() == Presence::Gone
    }

    pub(crate) fn set_presence(&self, presence: Presence) {
        *self.presence.lock() = presence;
    }

    /// What operators see of it now.
    pub fn shown(&self) -> NodeStatus {
        let Standing { draining, quarantine, contradicted, .. } = self.standing.lock().clone();
        NodeStatus { draining, quarantine, contradicted, ..self.status.lock().clone() }
    }
}

/// What outlives a channel actor; on its node's thread only.
pub struct ChannelSlot {
    /// The short channel id.
    pub id: u64,
    /// Its work.
    pub inbox: Inbox<ChannelMessage>,
    /// An order found no room: the node's actor is to be told when there is more.
    pub wanted: Cell<bool>,
    /// What it can take: written by the channel actor, read by its node's.
    pub room: Cell<Room>,
    /// What the node's actor knows to be reserved: what a rebuilt channel actor starts from.
    pub reserved: RefCell<HashMap<AttemptId, Msat>>,
}
