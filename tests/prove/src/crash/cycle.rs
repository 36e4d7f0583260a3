//! One cycle: load, kill, restart, repeat, compare.

use std::{
    ops::Range,
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fulgurite_journal::{Position, Verdict, verify};
use fulgurite_tests::{
    engine::{self, Engine, Sections},
    fault_clock::FaultClock,
    regtest::until,
};
use tempfile::TempDir;

use super::{
    books::{Books, Sums},
    ledger::Ledger,
    nodes::Nodes,
    plan::{Moment, Plan},
    regtest::Compared,
};
use crate::{
    client::{Doors, Request},
    preload::{Point, Strings},
    random::Random,
    report::Counts,
    scratch,
};

/// A cycle in which the point is not passed is killed after this long.
const POINT_MAX: Duration = Duration::from_millis(1_500);
/// How long the load runs before a start is what is killed.
const LOADED: Duration = Duration::from_millis(200);
/// Single payments over each door in a cycle.
const SINGLES: usize = 6;
/// The journal is verified whole while the engine is dead, in every so-many-th cycle.
const VERIFY_EVERY: u32 = 10;
/// How many earlier requests are repeated in each cycle.
const OLD_REPEATS: usize = 6;
/// How many requests are repeated at once at the end.
const REPEATS_AT_ONCE: usize = 50;

/// What all cycles counted.
#[derive(Debug, Default)]
pub struct Found {
    /// Kills of the engine, by when.
    pub kills: Counts,
    /// Points that a cycle waited for and that were not passed.
    pub missed: Counts,
    /// Kills of nodes.
    pub node_kills: u64,
    /// Payments in flight at the nodes at the engine's kills.
    pub in_flight: u64,
    /// The most of them at one kill.
    pub in_flight_max: u64,
    /// Requests repeated.
    pub repeats: u64,
    /// Of these, requests that had been acknowledged.
    pub acknowledged: u64,
    /// From a start to ready.
    pub ready: Vec<Duration>,
    /// With payers' money and receivers' books, of real lnd alone.
    pub compared: Compared,
    /// Whatever must not be.
    pub wrong: Vec<String>,
}

impl Found {
    /// Hashes that were paid twice, each once.
    fn note_twice(&mut self, books: &Books) {
        for hash in books.paid_twice() {
            let line = format!("PAID TWICE: {hash}");
            if !self.wrong.contains(&line) {
                self.wrong.push(line);
            }
        }
    }
}

/// The engine, the nodes and what clients know.
pub struct Proof {
    nodes: Nodes,
    engine: Engine,
    strings: Strings,
    random: Random,
    seed: u64,
    /// What clients were told.
    pub ledger: Ledger,
    /// What was counted.
    pub found: Found,
    verified: Position,
    folder: TempDir,
}

impl Proof {
    /// Starts nodes and engine; real lnd nodes `on_lnd`.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn start(seed: u64, on_lnd: bool) -> Result<Proof> {
        let folder = scratch::on_disk()?;
        let nodes = if on_lnd {
            Nodes::lnd().await?
        } else {
            Nodes::simulated(engine::program()?, folder.path().join("sim"), seed)?
        };
        let home = folder.path().join("engine");
        let sections = Sections { extra: nodes.settings(), ..Sections::default() };
        let entries = nodes.entries();
        let mut engine = Engine::prepare(&home, &entries, sections)?;
        let strings = Strings::new(folder.path(), &home.join("journal"))?;
        let port = |address: &str| Ok(address.rsplit(':').next().context("no port")?.parse()?);
        let ports = entries.iter().map(|node| port(&node.address)).collect::<Result<Vec<_>>>()?;
        strings.set_ports(&[engine.grpc().port(), engine.http().port()], &ports)?;
        engine.set_environment(strings.environment());
        engine.spawn()?;
        engine.wait_ready()?;
        Ok(Proof {
            nodes,
            engine,
            strings,
            random: Random::new(seed),
            seed,
            ledger: Ledger::default(),
            found: Found::default(),
            verified: Position::default(),
            folder,
        })
    }

    /// Where everything is, left behind for whoever looks into what was wrong.
    pub fn keep(self) -> std::path::PathBuf {
        scratch::keep(self.folder)
    }

    fn doors(&self) -> Doors {
        Doors { grpc: self.engine.grpc(), http: self.engine.http() }
    }

    /// Plays one cycle.
    ///
    /// # Errors
    /// When it cannot be played to its end; the engine's last words are in the error.
    pub async fn cycle(&mut self, number: u32) -> Result<()> {
        let plan = Plan::draw(number, self.nodes.len(), &mut self.random);
        let played = self.play(number, &plan).await;
        played.with_context(|| {
            format!("cycle {number}, {plan:?}; the engine said:\n{}", self.engine.last_words())
        })
    }

    async fn play(&mut self, number: u32, plan: &Plan) -> Result<()> {
        let from = self.ledger.len();
        let requests = self.requests(number, plan.orders).await?;
        if let Some(Moment::Point(point, countdown)) = plan.engine
            && !point.is_of_start()
        {
            self.strings.arm(point, countdown)?;
        }
        let (doors, clock) = (self.doors(), FaultClock::start());
        let sends: Vec<_> = requests
            .into_iter()
            .map(|request| {
                tokio::spawn(async move {
                    let accepted = request.send(doors).await.ok();
                    (request, accepted)
                })
            })
            .collect();
        self.kill(plan, clock).await?;
        for send in sends {
            let (request, accepted) = send.await?;
            self.ledger.note(request, accepted);
        }
        if plan.engine.is_some() {
            self.look_at_the_dead(number).await?;
            self.restart(plan).await?;
        }
        self.nodes.wait_usable().await?;
        let old = self.random.below(from.saturating_sub(OLD_REPEATS).max(1));
        let old = old..(old + OLD_REPEATS).min(from);
        self.repeat(from..self.ledger.len()).await?;
        self.repeat(old.clone()).await?;
        self.ledger.read(doors, |at| old.contains(&at), &mut self.found.wrong).await?;
        if self.nodes.books_are_due(number) {
            let books = self.nodes.books().await?;
            self.found.wrong.extend(books.compare(self.ledger.fresh_finals().into_iter()));
            self.found.note_twice(books);
        }
        Ok(())
    }

    async fn repeat(&mut self, numbers: Range<usize>) -> Result<()> {
        let seen = self.ledger.repeat(self.doors(), numbers, &mut self.found.wrong).await?;
        self.found.repeats += seen.repeats;
        self.found.acknowledged += seen.acknowledged;
        Ok(())
    }

    /// A mixed batch, one row of it twice, and single payments over both doors.
    async fn requests(&mut self, number: u32, orders: usize) -> Result<Vec<Request>> {
        let (seed, mut batch) = (self.seed, self.nodes.invoices(orders).await?);
        batch.push(batch[0].clone());
        let mut requests = vec![Request::Batch(format!("batch-{seed}-{number}"), batch)];
        let singles = self.nodes.invoices(2 * SINGLES).await?;
        for (at, invoice) in singles.into_iter().enumerate() {
            let key = format!("single-{seed}-{number}-{at}");
            requests.push(match at % 2 {
                0 => Request::Grpc(key, invoice),
                _ => Request::Http(key, invoice),
            });
        }
        Ok(requests)
    }

    /// Kills whom the plan names, at the moments that it names, by the clock of the load.
    async fn kill(&mut self, plan: &Plan, clock: FaultClock) -> Result<()> {
        let name = match plan.engine {
            None => None,
            Some(Moment::Time(after)) => {
                clock.at(after).await;
                Some("at a random time")
            }
            Some(Moment::Point(point, _)) if point.is_of_start() => {
                // What is under way then is what the start, which is killed next, recovers.
                clock.at(LOADED).await;
                Some("at a random time")
            }
            Some(Moment::Point(point, _)) => {
                let hit = self.wait_dead().await?;
                if !hit {
                    self.found.missed.add(point.name());
                }
                Some(if hit { point.name() } else { "at a random time" })
            }
        };
        if let Some((node, _)) = plan.node {
            self.nodes.kill(node);
            self.found.node_kills += 1;
        }
        if let Some(name) = name {
            self.engine.kill9();
            self.strings.disarm()?;
            self.found.kills.add(name);
        }
        if let Some((node, away)) = plan.node {
            FaultClock::start().at(away).await;
            self.nodes.spawn(node)?;
        }
        Ok(())
    }

    /// Waits until the engine kills itself; whether it did.
    async fn wait_dead(&mut self) -> Result<bool> {
        let ended = until("the kill", POINT_MAX, async || self.engine.ended()).await;
        // A point that is not passed in time is one of those that are counted as such.
        let Ok(status) = ended else { return Ok(false) };
        ensure!(status.signal() == Some(9), "it ended by itself: {status}");
        Ok(true)
    }

    /// What is in flight, and whether the journal is whole.
    async fn look_at_the_dead(&mut self, number: u32) -> Result<()> {
        let in_flight = self.nodes.in_flight().await?;
        self.found.in_flight += in_flight;
        self.found.in_flight_max = self.found.in_flight_max.max(in_flight);
        if number.is_multiple_of(VERIFY_EVERY) {
            let report = verify(&self.folder.path().join("engine/journal"));
            let grew = report.last_lsn >= self.verified.lsn;
            if report.verdict != Verdict::Clean || !grew {
                self.found.wrong.push(format!("cycle {number}: the journal is {report:?}"));
            }
            self.verified = report.position;
        }
        Ok(())
    }

    /// Starts the engine again; when the plan says so, it dies in its recovery first.
    async fn restart(&mut self, plan: &Plan) -> Result<()> {
        if let Some(Moment::Point(point, countdown)) = plan.engine
            && point.is_of_start()
        {
            self.strings.arm(point, countdown)?;
            self.engine.spawn()?;
            if self.wait_dead().await? {
                self.found.kills.add(point.name());
            } else {
                self.found.missed.add(point.name());
            }
            self.engine.kill9();
            self.strings.disarm()?;
        }
        let started = Instant::now();
        self.engine.spawn()?;
        self.engine.wait_ready()?;
        self.found.ready.push(started.elapsed());
        Ok(())
    }

    /// Waits until every payment is final or unresolved, repeats every request, compares
    /// everything, stops the engine and verifies its journal.
    ///
    /// # Errors
    /// When it cannot be done to its end.
    pub async fn finish(&mut self, patience: Duration) -> Result<()> {
        let doors = self.doors();
        let ended = until("every payment to end", patience, async || {
            // The last reading, below, tells what is wrong, once.
            self.ledger.read(doors, |_| false, &mut Vec::new()).await?;
            Ok((self.ledger.waiting() == 0).then_some(()))
        });
        // What is under way then is compared with the nodes.
        let _ = ended.await;
        for first in (0..self.ledger.len()).step_by(REPEATS_AT_ONCE) {
            self.repeat(first..(first + REPEATS_AT_ONCE).min(self.ledger.len())).await?;
        }
        self.ledger.read(doors, |_| true, &mut self.found.wrong).await?;
        let books = self.nodes.books().await?;
        self.found.wrong.extend(books.compare(self.ledger.finals()));
        self.found.note_twice(books);
        self.compare_open().await?;
        let (code, _) = self.engine.terminate()?;
        ensure!(code == Some(0), "the engine does not stop in order: {code:?}");
        let report = verify(&self.folder.path().join("engine/journal"));
        if report.verdict != Verdict::Clean {
            self.found.wrong.push(format!("the journal at the end is {report:?}"));
        }
        Ok(())
    }

    /// What has no end must have its reason at real nodes. A simulated node keeps no payment in
    /// flight for ever: there nothing may be without an end.
    async fn compare_open(&mut self) -> Result<()> {
        if let Nodes::Lnd(regtest) = &self.nodes {
            let mut compared = regtest.compare(&self.ledger).await?;
            self.found.wrong.append(&mut compared.wrong);
            self.found.compared = compared;
        } else {
            let open = self.ledger.unresolved().chain(self.ledger.under_way());
            let lines = open.map(|payment| format!("{} does not end", payment.payment_id));
            self.found.wrong.extend(lines);
        }
        Ok(())
    }

    /// What the nodes' books say was paid.
    ///
    /// # Errors
    /// When a book cannot be read.
    pub async fn sums(&mut self) -> Result<Sums> {
        Ok(self.nodes.books().await?.sums())
    }

    /// How often each point was passed, over all lives of the engine.
    ///
    /// # Errors
    /// When the control cannot be read.
    pub fn passed(&self) -> Result<Vec<(&'static str, u32)>> {
        let passed = |point: Point| Ok((point.name(), self.strings.passed(point)?));
        Point::ALL.into_iter().map(passed).collect()
    }
}
