//! The world of one seed: its clock, what will happen when, and who takes part.

use std::{collections::BTreeMap, rc::Rc};

use fulgurite_core::{
    Lsn, PaymentHash, UnixMs,
    book::Book,
    id::SendId,
    port::{Journal, NodeEvent, TrackCall},
};

use super::{
    client::Client,
    disk::Disk,
    engine::Engine,
    random::{Coverage, Random},
    sim_node::{Request, SimNode},
};

/// When the world begins.
pub const BEGIN: i64 = 1_000_000_000;
/// When faults stop.
const CALM: i64 = BEGIN + 90_000;
/// When everything must be final.
const END: i64 = CALM + 1_200_000;

/// What will happen.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A sync is done.
    Synced { life: u32 },
    /// The engine's own timer.
    Tick { serial: u64 },
    /// A message of a node reaches the engine.
    Deliver { life: u32, node: usize, connection: u32, event: NodeEvent },
    /// HEADERS of a send reach their node.
    Headers(Request),
    /// The message of a send reaches its node.
    Message(Request),
    /// A send's turn at the node's database.
    Begin(Request),
    /// A payment at a node goes on.
    Move { node: usize, hash: PaymentHash, run: u64 },
    /// A Track call reaches its node.
    TrackArrives { node: usize, connection: u32, call: TrackCall },
    /// An expiry probe reaches its node.
    ProbeArrives { node: usize, connection: u32, expiry: UnixMs },
    /// The `grpc-timeout` of a send, at the engine.
    Deadline { node: usize, send: SendId },
    /// The engine tries to connect.
    Connect { node: usize },
    /// A node's process comes back.
    NodeUp { node: usize },
    /// Something goes wrong.
    Fault,
    /// The client does something.
    Client,
    /// A new engine starts on what the disk kept.
    Restart,
}

pub struct World {
    pub now: i64,
    pub random: Random,
    pub coverage: Coverage,
    queue: BTreeMap<(i64, u64), Happening>,
    serial: u64,
    tick: u64,
    pub disk: Rc<Disk>,
    pub engine: Option<Engine>,
    /// Grows with each engine.
    pub life: u32,
    pub nodes: Vec<SimNode>,
    pub client: Client,
    /// What clients see: the journal up to its durable end.
    pub visible: Book,
    pub calm: bool,
    /// How often each hash was paid, over all nodes.
    pub paid: BTreeMap<PaymentHash, u32>,
    pub runs: u64,
}

impl World {
    /// Runs one seed to its end.
    pub fn run(seed: u64) -> Coverage {
        let mut random = Random::new(seed);
        let nodes = (0..2)
            .map(|_| {
                let offset_ms = offset(&mut random);
                let reading_error_ms = if random.percent(20) { 15_000 } else { 0 };
                SimNode::new(offset_ms, reading_error_ms)
            })
            .collect();
        let client = Client::new(&mut random);
        let mut world = World {
            now: BEGIN,
            random,
            coverage: Coverage::default(),
            queue: BTreeMap::new(),
            serial: 0,
            tick: 0,
            disk: Rc::default(),
            engine: None,
            life: 0,
            nodes,
            client,
            visible: Book::default(),
            calm: false,
            paid: BTreeMap::new(),
            runs: 0,
        };
        world.after(0, Happening::Restart);
        world.after(5, Happening::Client);
        world.after(500, Happening::Fault);
        while let Some(((at, _), happening)) = world.queue.pop_first() {
            world.now = at;
            if at >= CALM && !world.calm {
                world.calm_down();
            }
            world.happen(happening);
            world.settle();
            world.check();
            if world.calm && world.is_over() {
                world.finish();
                return world.coverage;
            }
            assert!(at < END, "not everything became final: {:#?}", world.open_payments());
        }
        panic!("nothing happens any more: {:#?}", world.open_payments());
    }

    pub fn now(&self) -> UnixMs {
        UnixMs(self.now)
    }

    /// Lets something happen in so many milliseconds.
    pub fn after(&mut self, ms: i64, happening: Happening) {
        self.serial += 1;
        self.queue.insert((self.now + ms, self.serial), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Synced { life } if life == self.life => self.synced(),
            Happening::Tick { serial } if serial == self.tick => {}
            Happening::Synced { .. } | Happening::Tick { .. } => return,
            Happening::Deliver { life, node, connection, event } => {
                self.deliver(life, node, connection, event);
            }
            Happening::Headers(request) => self.headers(request),
            Happening::Message(request) => self.message(request),
            Happening::Begin(request) => self.begin(request),
            Happening::Move { node, hash, run } => self.payment_moves(node, hash, run),
            Happening::TrackArrives { node, connection, call } => {
                self.track_arrives(node, connection, call);
            }
            Happening::ProbeArrives { node, connection, expiry } => {
                self.probe_arrives(node, connection, expiry);
            }
            Happening::Deadline { node, send } => self.deadline(node, send),
            Happening::Connect { node } => self.connect(node),
            Happening::NodeUp { node } => self.node_up(node),
            Happening::Fault => self.fault(),
            Happening::Client => self.client_acts(),
            Happening::Restart => self.restart(),
        }
        // Most of all while something is not durable.
        let odds = if self.disk.durable() < self.disk.last() { 60 } else { 2_000 };
        if !self.calm && self.random.next().is_multiple_of(odds) {
            self.crash();
        }
    }

    /// Lets the engine do what it can, and carries out what it wants.
    fn settle(&mut self) {
        let now = self.now();
        let Some(engine) = &mut self.engine else {
            return;
        };
        engine.run(now);
        let commands = std::mem::take(&mut engine.out);
        let replies = std::mem::take(&mut engine.replies);
        let seen = std::mem::take(&mut engine.seen);
        let wake_at = engine.wake_at(now);
        seen.into_iter().for_each(|what| self.coverage.saw(what));
        for (node, command) in commands {
            self.command(node, command);
        }
        for reply in replies {
            self.client_hears(reply);
        }
        if self.disk.start_sync() {
            let ms = if self.random.percent(10) { self.random.between(20, 300) } else { 3 };
            self.after(ms, Happening::Synced { life: self.life });
        }
        self.tick += 1;
        self.after(wake_at.since(now), Happening::Tick { serial: self.tick });
    }

    fn synced(&mut self) {
        self.disk.synced();
        self.see();
    }

    /// Clients see what became durable.
    pub fn see(&mut self) {
        let from: Lsn = self.visible.lsn;
        for (lsn, event) in (from + 1..).zip(self.disk.durable_after(from)) {
            self.visible.apply(&event, lsn);
        }
    }

    fn restart(&mut self) {
        if self.engine.is_some() {
            return;
        }
        self.life += 1;
        let mut book = Book::default();
        for (lsn, event) in (1..).zip(self.disk.all()) {
            book.apply(&event, lsn);
        }
        self.see();
        assert_eq!(book, self.visible, "replay equals what clients saw");
        let engine = Engine::start(Rc::clone(&self.disk), book, self.nodes.len(), self.now());
        self.engine = Some(engine);
        assert!(self.disk.durable() < self.disk.last(), "a start is journaled");
        for node in 0..self.nodes.len() {
            let ms = self.random.between(1, 400);
            self.after(ms, Happening::Connect { node });
        }
    }
}

/// Some clocks are an hour off.
fn offset(random: &mut Random) -> i64 {
    match random.between(0, 3) {
        0 => random.between(-3_600_000, 3_600_000),
        1 => random.between(-20_000, 20_000),
        _ => random.between(-500, 500),
    }
}
