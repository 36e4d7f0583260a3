//! A simulated node: its keys, channels, payments and book, and its start from that book.
//!
//! A node lives on one thread and is one writer of one state; its connections' tasks borrow it
//! between two `await`s. What it does with a payment is in [`crate::pay`].

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use tokio::sync::Notify;

use crate::auth::{Guard, admin_permissions};
use crate::book::Book;
use crate::channel::{Channel, Limits};
use crate::clock;
use crate::config::{FleetConfig, Knobs, node_name};
use crate::decide::{self, Decision, Outcome};
use crate::factory::Factory;
use crate::fault::SimFault;
use crate::feed::Feed;
use crate::macaroon::bake;
use crate::message::Route;
use crate::network::Network;
use crate::payment::{Payments, Shards};
use crate::record::Record;

/// The height of the simulated chain.
pub(crate) const BLOCK_HEIGHT: u32 = 1_000;

/// A node, shared by its connections and its clockwork.
pub(crate) type NodeCell = Rc<RefCell<Node>>;

/// What a node's timer does when it rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// The payment's turn under the cap of payments per second has come.
    Attempt,
    /// The payment's turn would come too late for its `timeout_seconds`.
    TimeOut,
    /// The payment's HTLCs resolve.
    Resolve,
}

/// What is decided about a payment whose HTLCs are out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    /// How it will end.
    pub outcome: Outcome,
}

/// A payment that waits for its turn: what it may do, and what is decided about it.
pub(crate) struct Waiting {
    fee_limit_msat: u64,
    max_parts: u32,
    outgoing_chan_ids: Vec<u64>,
    /// Decided when it came.
    pub decision: Decision,
}

impl Waiting {
    /// Keeps what the request said.
    pub fn new(limits: Limits<'_>, decision: Decision) -> Waiting {
        let Limits { fee_limit_msat, max_parts, outgoing_chan_ids } = limits;
        let outgoing_chan_ids = outgoing_chan_ids.to_vec();
        Waiting { fee_limit_msat, max_parts, outgoing_chan_ids, decision }
    }

    /// What the sender allows.
    pub fn limits(&self) -> Limits<'_> {
        let Waiting { fee_limit_msat, max_parts, outgoing_chan_ids, .. } = self;
        let (fee_limit_msat, max_parts) = (*fee_limit_msat, *max_parts);
        Limits { fee_limit_msat, max_parts, outgoing_chan_ids }
    }
}

/// Who a node is.
pub(crate) struct Identity {
    /// Its place in the fleet.
    pub index: usize,
    /// `node-2`.
    pub name: String,
    /// Signs its invoices.
    pub key: SecretKey,
    /// Names it.
    pub pubkey: [u8; 33],
    /// The same in hex.
    pub pubkey_hex: String,
    /// The public key of the peer of all its channels, in hex.
    pub peer_hex: String,
}

/// A running node.
pub(crate) struct Node {
    /// Who it is.
    pub identity: Identity,
    /// The fleet's configuration.
    pub config: Arc<FleetConfig>,
    /// The nodes beside it.
    pub network: Arc<Network>,
    /// The seed's secrets.
    pub factory: Factory,
    /// As they are now.
    pub knobs: Knobs,
    /// Whether `knobs` call for decisions at all.
    pub decides: bool,
    /// What survives it.
    pub book: Book,
    /// Everything it was ever asked to pay.
    pub payments: Payments,
    /// Its channels by index.
    pub channels: Vec<Channel>,
    /// Its root keys.
    pub guard: Guard,
    /// Payments with HTLCs out.
    pub open: HashMap<u32, Open>,
    /// Payments that wait for their turn.
    pub waiting: HashMap<u32, Waiting>,
    /// The streams that follow a payment.
    pub feeds: HashMap<u32, Vec<Rc<Feed>>>,
    /// The streams that follow the channels.
    pub channel_feeds: Vec<Rc<Feed>>,
    /// What rings when.
    pub timers: BinaryHeap<Reverse<(Instant, u32, Alarm)>>,
    /// Rings when the first timer has changed.
    pub bell: Rc<Notify>,
    /// When the next payment may start under the cap.
    pub next_start: Instant,
    /// How often each payment was sent here, while sends are lost on the way.
    pub dropped: HashMap<[u8; 32], u32>,
    /// False once it was killed: nothing has an effect any more.
    pub alive: bool,
}

impl Identity {
    /// The node at `index` of the fleet with `factory`'s seed.
    pub fn new(factory: &Factory, index: usize) -> Identity {
        let secp = Secp256k1::signing_only();
        let key = factory.secret_key(b"node", index as u64);
        let pubkey = PublicKey::from_secret_key(&secp, &key).serialize();
        let peer = factory.secret_key(b"peer", index as u64).public_key(&secp).serialize();
        let (pubkey_hex, peer_hex) = (hex::encode(pubkey), hex::encode(peer));
        Identity { index, name: node_name(index), key, pubkey, pubkey_hex, peer_hex }
    }
}

impl Node {
    /// Starts node `index` from its book, which is empty at first.
    ///
    /// # Errors
    /// [`SimFault::Io`], [`SimFault::Book`] or [`SimFault::Config`] for its files.
    pub fn open(
        config: Arc<FleetConfig>,
        network: Arc<Network>,
        index: usize,
    ) -> Result<Node, SimFault> {
        let dir = config.node_dir(index);
        std::fs::create_dir_all(&dir).map_err(|error| SimFault::io(&dir, error))?;
        let knobs = Knobs::load(&config.knobs, &config.dir, &dir)?;
        let factory = Factory::new(config.seed);
        let channels = (0..config.channels).map(|number| {
            // A short_channel_id: block, transaction, output.
            let chan_id = (100 + index as u64) << 40 | (number as u64 + 1) << 16;
            Channel::new(chan_id, config.channel_capacity_sat * 1_000)
        });
        let mut restored = crate::restore::Restored {
            owner: index,
            payments: Payments::default(),
            channels: channels.collect(),
            guard: Guard::default(),
            open: HashMap::new(),
        };
        let book = Book::open(&dir, |at, record| restored.apply(at, record, &network))?;
        let mut node = Node {
            identity: Identity::new(&factory, index),
            decides: decide::is_needed(&knobs),
            knobs,
            book,
            payments: restored.payments,
            channels: restored.channels,
            guard: restored.guard,
            open: HashMap::new(),
            waiting: HashMap::new(),
            feeds: HashMap::new(),
            channel_feeds: Vec::new(),
            timers: BinaryHeap::new(),
            bell: Rc::new(Notify::new()),
            next_start: Instant::now(),
            dropped: HashMap::new(),
            alive: true,
            config,
            network,
            factory,
        };
        if node.guard.root_key(0).is_none() {
            let id = (index as u64).to_be_bytes();
            node.add_root_key(0, node.factory.derive(b"root key", &[&id]));
        }
        node.resume(restored.open);
        node.close_channels();
        node.flush()?;
        Ok(node)
    }

    /// Where the node keeps its files.
    pub fn dir(&self) -> PathBuf {
        self.config.node_dir(self.identity.index)
    }

    /// Nanoseconds since 1970 by the node's own clock.
    pub fn now_ns(&self) -> i64 {
        clock::node_now_ns(self.knobs.clock_offset_ms)
    }

    /// The node's admin macaroon, in binary.
    pub fn admin_macaroon(&self) -> Vec<u8> {
        let key = self.guard.root_key(0).copied().unwrap_or_default();
        bake(&key, "0", &[0; 16], &admin_permissions())
    }

    /// Keeps a new root key.
    pub fn add_root_key(&mut self, id: u64, key: [u8; 32]) {
        self.guard.add_root_key(id, key);
        self.book.append(&Record::RootKey { id, key });
    }

    /// What all routes of the node have in common.
    pub fn route(&self) -> Route<'_> {
        Route { peer: self.identity.peer_hex.as_bytes(), expiry: BLOCK_HEIGHT + 83 }
    }

    /// Writes the book: called before any byte leaves the node.
    ///
    /// # Errors
    /// [`SimFault::Io`]: the node must stop.
    pub fn flush(&mut self) -> Result<(), SimFault> {
        if !self.alive {
            return Ok(());
        }
        self.book.flush()
    }

    /// Changes the knobs for what begins from now on; tells the channels' followers about peers
    /// that went or came.
    pub fn turn(&mut self, knobs: Knobs) {
        let shown =
            |knobs: &Knobs| (knobs.peers_offline, knobs.closed_channels, knobs.resolved_channels);
        let changed = shown(&knobs) != shown(&self.knobs);
        self.decides = decide::is_needed(&knobs);
        self.knobs = knobs;
        if changed {
            self.close_channels();
            self.tell_channel_followers();
        }
    }

    /// The HTLCs of every open payment that cross channel `channel`: (hash, millisatoshi).
    pub fn pending_htlcs(&self) -> HashMap<u16, Vec<([u8; 32], u64)>> {
        let mut pending: HashMap<u16, Vec<_>> = HashMap::new();
        for (slot, open) in &self.open {
            if open.outcome == Outcome::Uncommitted {
                continue;
            }
            let payment = self.payments.get(*slot);
            for shard in payment.shards.as_slice() {
                let amount_msat = shard.amount_msat + shard.fee_msat;
                let htlcs = pending.entry(shard.channel).or_default();
                htlcs.push((payment.payment_hash, amount_msat));
            }
        }
        pending
    }

    /// After a start: no payment makes another attempt. One without an HTLC fails with NO_ROUTE,
    /// one with an HTLC waits for it.
    fn resume(&mut self, open: HashMap<u32, (Outcome, i64)>) {
        use crate::payment::{FailureReason, Status};
        let now_ns = clock::node_now_ns(0);
        let killed_ns = self.last_ns();
        for slot in 0..self.payments.all().len() as u32 {
            let payment = self.payments.get(slot);
            let hash = &payment.payment_hash;
            if self.decides && !decide::decide(self.config.seed, hash, &self.knobs).is_plain() {
                self.network.is_first_send(hash);
            }
            if matches!(payment.status, Status::Succeeded | Status::Failed) {
                continue;
            }
            let (outcome, due_ns) = match open.get(&slot) {
                Some((Outcome::Uncommitted, _)) if self.is_stale(slot) => {
                    // Its channels have back what they had given.
                    self.payments.get_mut(slot).shards = Shards::None;
                    self.end(slot, FailureReason::NoRoute, [0; 32]);
                    continue;
                }
                Some((_, due_ns)) if self.was_uncommitted(slot, *due_ns, killed_ns) => {
                    self.lose_htlcs(slot);
                    continue;
                }
                Some(fate) if payment.shards != Shards::None => *fate,
                _ => {
                    self.end(slot, FailureReason::NoRoute, [0; 32]);
                    continue;
                }
            };
            let outcome = match outcome {
                Outcome::Fail(FailureReason::IncorrectPaymentDetails)
                | Outcome::Settle
                | Outcome::Stuck
                | Outcome::Uncommitted => outcome,
                Outcome::Fail(_) | Outcome::Zombie => Outcome::Fail(FailureReason::NoRoute),
            };
            self.open.insert(slot, Open { outcome });
            if due_ns > 0 {
                let left = u64::try_from(due_ns - now_ns).unwrap_or(0);
                let due = Instant::now() + std::time::Duration::from_nanos(left);
                self.timers.push(Reverse((due, slot, Alarm::Resolve)));
            }
        }
    }

    /// The last moment in the book, by the node's clock: when it was killed, or just before.
    fn last_ns(&self) -> i64 {
        let times = self.payments.all().iter();
        times.map(|payment| payment.created_ns.max(payment.resolved_ns)).max().unwrap_or(0)
    }

    /// The kill came before the payment's HTLCs, which resolve at `due_ns`, were on their channels.
    fn was_uncommitted(&self, slot: u32, due_ns: i64, killed_ns: i64) -> bool {
        let payment = self.payments.get(slot);
        let wait_ns = i64::try_from(self.knobs.commit_ms).unwrap_or(0) * 1_000_000;
        let due_ns = due_ns + self.knobs.clock_offset_ms * 1_000_000;
        payment.shards != Shards::None
            && due_ns > killed_ns
            && killed_ns - payment.created_ns < wait_ns
    }

    fn lose_htlcs(&mut self, slot: u32) {
        let shards = self.payments.get(slot).shards.clone();
        for shard in shards.as_slice() {
            self.channels[usize::from(shard.channel)].resolve(shard, false);
        }
        let outcome = Outcome::Uncommitted;
        self.book.append(&Record::Sent { slot, outcome, due_ns: 0, shards });
        self.open.insert(slot, Open { outcome });
    }
}
