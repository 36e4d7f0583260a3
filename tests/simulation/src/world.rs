//! The world of one seed: its clocks, what will happen when, and who takes part.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use fulgurite_core::{
    AttemptId, Lsn, PaymentHash, UnixMs,
    book::{Book, Changed},
    id::SendId,
    payment::State,
    port::{Journal, ListCall, NodeEvent, TrackCall},
};

use crate::{
    checks,
    client::Client,
    copies::Newest,
    coverage::{Coverage, Kind},
    disk::Disk,
    engine::{Engine, Machine},
    fault::{Fault, Faults},
    random::Random,
    rule::{broken, rule},
    run::Scenario,
    sim_node::{Request, SimNode},
    twin::Twin,
};

/// When the world begins, by the true clock.
pub const BEGIN: i64 = 1_000_000_000;
/// When faults stop.
const CALM: i64 = BEGIN + 90_000;
/// When everything must be final or unresolved: the bound of the liveness mode. A clock that was
/// set back delays what waits by it for as long.
const END: i64 = CALM + 1_800_000;

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
    /// A ListPayments call reaches its node.
    ListArrives { node: usize, connection: u32, call: ListCall },
    /// An expiry probe reaches its node.
    ProbeArrives { node: usize, connection: u32, expiry: UnixMs },
    /// The `grpc-timeout` of a send, at the engine.
    Deadline { node: usize, send: SendId },
    /// The stream of a send breaks.
    StreamCut { node: usize, send: SendId },
    /// The engine tries to connect.
    Connect { node: usize },
    /// The engine reads a node's clock again.
    ReadClock { node: usize, connection: u32 },
    /// A node's process comes back.
    NodeUp { node: usize },
    /// Something may go wrong.
    Faults,
    /// The client does something.
    Client,
    /// A new engine starts on what the disk kept.
    Restart,
}

pub struct World {
    /// The true time.
    pub now: i64,
    /// How far the clock of the engine's machine is ahead of it.
    pub clock_ms: i64,
    /// By how much it was set back, all in all.
    pub set_back_ms: i64,
    pub random: Random,
    pub faults: Faults,
    pub twin: Option<Twin>,
    trace: bool,
    pub coverage: Coverage,
    queue: BTreeMap<(i64, u64), Happening>,
    serial: u64,
    tick: u64,
    pub disk: Rc<Disk>,
    pub engine: Option<Engine>,
    /// Grows with each end and each start of an engine.
    pub life: u32,
    pub nodes: Vec<SimNode>,
    pub client: Client,
    /// The newest journal, while an old copy of it runs.
    pub newest: Option<Newest>,
    /// What clients see: the journal up to its durable end.
    pub visible: Book,
    /// How often each hash was paid, over all nodes.
    pub paid: BTreeMap<PaymentHash, u32>,
    /// Hashes of which a node said what is not true, and why no rule can help there.
    pub excused: BTreeMap<PaymentHash, &'static str>,
    pub runs: u64,
    /// Attempts that were sent.
    pub sent: BTreeSet<AttemptId>,
}

impl World {
    /// Runs one seed to its end; panics where a rule is broken.
    pub fn run(scenario: &Scenario, faults: Faults) -> Coverage {
        let mut world = World::new(scenario, faults);
        world.after(0, Happening::Restart);
        world.after(5, Happening::Client);
        world.after(250, Happening::Faults);
        while let Some(((at, _), happening)) = world.queue.pop_first() {
            world.now = at;
            if at >= CALM && !world.faults.calm {
                world.calm_down();
            }
            // A timer that was set anew since is none.
            if matches!(happening, Happening::Tick { serial } if serial != world.tick) {
                continue;
            }
            world.happen(happening);
            world.settle();
            world.check();
            if world.faults.calm && !world.is_copy() && world.is_over() {
                world.finish();
                return world.coverage;
            }
            let in_time = at < END + world.set_back_ms;
            rule!(in_time, "not everything became final: {}", world.open_payments());
        }
        broken!("nothing happens any more: {}", world.open_payments());
    }

    fn new(scenario: &Scenario, mut faults: Faults) -> World {
        let mut random = Random::new(scenario.seed);
        let nodes = (0_u64..2)
            .map(|node| {
                let offset_ms = offset(&mut random);
                let reading_error_ms = if random.percent(20) { 15_000 } else { 0 };
                SimNode::new(node, offset_ms, reading_error_ms)
            })
            .collect();
        let client = Client::new(&mut random, &mut faults, scenario.rows_max);
        World {
            now: BEGIN,
            clock_ms: 0,
            set_back_ms: 0,
            random,
            faults,
            twin: scenario.twin,
            trace: scenario.trace,
            coverage: Coverage::default(),
            queue: BTreeMap::new(),
            serial: 0,
            tick: 0,
            disk: Rc::default(),
            engine: None,
            life: 0,
            nodes,
            client,
            newest: None,
            visible: Book::default(),
            paid: BTreeMap::new(),
            excused: BTreeMap::new(),
            runs: 0,
            sent: BTreeSet::new(),
        }
    }

    /// The time by the clock of the engine's machine.
    pub fn now(&self) -> UnixMs {
        UnixMs(self.now + self.clock_ms)
    }

    /// True for the engine with this bug.
    pub fn is(&self, twin: Twin) -> bool {
        self.twin == Some(twin)
    }

    /// True when the fault strikes here and now.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.faults.strikes(fault, self.now - BEGIN);
        if strikes {
            self.tell_of(format_args!("fault: {}", fault.name()));
        }
        strikes
    }

    /// Tells what happens, if somebody wants to know.
    pub fn tell_of(&self, what: std::fmt::Arguments<'_>) {
        if self.trace {
            eprintln!("{:>9.3} s  {what}", (self.now - BEGIN) as f64 / 1_000.0);
        }
    }

    /// A moment that is worth counting.
    pub fn saw(&mut self, what: &'static str) {
        self.coverage.saw(Kind::Moment, what);
    }

    /// Lets something happen in so many milliseconds.
    pub fn after(&mut self, ms: i64, happening: Happening) {
        self.serial += 1;
        self.queue.insert((self.now + ms, self.serial), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Synced { life } if life == self.life => self.synced(),
            Happening::Tick { .. } => {}
            Happening::Synced { .. } => return,
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
            Happening::ListArrives { node, connection, call } => {
                self.list_arrives(node, connection, call);
            }
            Happening::ProbeArrives { node, connection, expiry } => {
                self.probe_arrives(node, connection, expiry);
            }
            Happening::Deadline { node, send } => self.deadline(node, send),
            Happening::StreamCut { node, send } => self.stream_cut(node, send),
            Happening::Connect { node } => self.connect(node),
            Happening::ReadClock { node, connection } => self.read_clock(node, connection),
            Happening::NodeUp { node } => self.node_up(node),
            Happening::Faults => self.faults_strike(),
            Happening::Client => self.client_acts(),
            Happening::Restart => self.restart(),
        }
        self.aim_resend();
        self.crashes();
    }

    /// Lets the engine do what it can, and carries out what it wants.
    fn settle(&mut self) {
        let now = self.now();
        let calm = self.faults.calm;
        let Some(engine) = &mut self.engine else {
            return;
        };
        if calm {
            engine.use_all_nodes(now);
        }
        engine.run(now);
        if self.witnessed() {
            return;
        }
        let Some(engine) = &mut self.engine else {
            return;
        };
        let commands = std::mem::take(&mut engine.out);
        let replies = std::mem::take(&mut engine.replies);
        let seen = std::mem::take(&mut engine.seen);
        let wake_at = engine.wake_at(now);
        seen.into_iter().for_each(|(kind, what)| self.coverage.saw(kind, what));
        for (node, command) in commands {
            self.command(node, command);
        }
        for reply in replies {
            self.client_hears(reply);
        }
        if self.disk.start_sync(&mut self.random) {
            let slow = self.strikes(Fault::SlowSync);
            let ms = if slow { self.faults.size(Fault::SlowSync, 20, 300) } else { 3 };
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
            self.coverage.saw_event(&event);
            self.tell_of(format_args!("durable {lsn}: {event:?}"));
            match self.visible.apply(&event, lsn) {
                Changed::Payment(batch, row) => {
                    let payment = self.visible.batches[&batch].payment(batch.payment(row));
                    let payment = payment.expect("it has just changed");
                    self.coverage.saw(Kind::State, checks::name(&payment.state));
                    if let State::Stuck(_) = payment.state {
                        self.check_stuck(payment);
                    }
                }
                Changed::Batch(batch) | Changed::Finished(batch) | Changed::Accepted(batch) => {
                    let state = self.visible.batches[&batch].summary.state;
                    self.coverage.saw(Kind::State, checks::batch_name(state));
                    if matches!(event, fulgurite_core::Event::BatchAccepted(_)) {
                        self.coverage.saw(Kind::State, "payment queued");
                    }
                }
                Changed::Payments(_) => self.coverage.saw(Kind::State, "payment cancelled"),
                Changed::Nothing => {}
            }
        }
    }

    fn restart(&mut self) {
        if self.engine.is_some() {
            return;
        }
        self.life += 1;
        self.see();
        self.start_old_copy();
        let mut book = Book::default();
        for (lsn, event) in (1..).zip(self.disk.all()) {
            book.apply(&event, lsn);
        }
        rule!(book == self.visible, "replay differs from what clients saw");
        let machine = Machine { disk: Rc::clone(&self.disk), twin: self.twin };
        let engine = Engine::start(machine, book, self.nodes.len(), self.now());
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
        1 | 2 => random.between(-20_000, 20_000),
        _ => random.between(-500, 500),
    }
}
