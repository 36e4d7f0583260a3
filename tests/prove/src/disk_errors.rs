//! `disk-errors`: the disk fails under a working engine, or before its start.
//!
//! The engine must acknowledge nothing more within a second, end with exit code 74 and a last line
//! that says what to do, sync nothing again, and start once the disk is whole, with everything
//! that it acknowledged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fulgurite_sim::{Fleet, FleetConfig, Knobs};
use fulgurite_tests::{
    engine::{Engine, NodeEntry, Sections},
    regtest::until,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{
    client::{Doors, Invoices, Request},
    preload::{Fault, Strings},
    report::Page,
    scratch,
};

/// How the proof is run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Tries only the cases whose names contain this.
    #[arg(long, value_name = "TEXT", value_parser = part_of_a_case)]
    pub only: Option<String>,
}

/// The exit code of an engine whose journal cannot be used (docs/configuration.md).
const EXIT: i32 = 74;
/// Nothing is acknowledged longer than this after the first call that failed.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// An engine that has not ended after this does not.
const END_MAX: Duration = Duration::from_secs(10);
/// So many orders are acknowledged before the disk fails.
const BEFORE: usize = 20;
/// How many clients order at once.
const CLIENTS: usize = 4;

/// What happens to the disk.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Calls fail while the engine works.
    Running(Fault),
    /// Calls fail from before its start.
    AtStart(Fault),
    /// The folder is removed while the engine works.
    Removed,
    /// The folder is renamed while the engine works.
    Moved,
}

const CASES: [(&str, Harm); 9] = [
    ("sync fails (EIO)", Harm::Running(Fault::Sync)),
    ("write fails (EIO)", Harm::Running(Fault::Write)),
    ("disk full (ENOSPC)", Harm::Running(Fault::Full)),
    ("disk turns read-only (EROFS)", Harm::Running(Fault::ReadOnly)),
    ("folder removed", Harm::Removed),
    ("folder moved away", Harm::Moved),
    ("start: disk full", Harm::AtStart(Fault::Full)),
    ("start: disk read-only", Harm::AtStart(Fault::ReadOnly)),
    ("start: no more open files (EMFILE)", Harm::AtStart(Fault::Files)),
];

fn part_of_a_case(text: &str) -> Result<String, String> {
    let is_one = CASES.iter().any(|(name, _)| name.contains(text));
    is_one.then(|| text.to_owned()).ok_or_else(|| {
        let known: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        format!("no case has it in its name; they are {}", known.join(", "))
    })
}

/// Runs the proof on the engine that lies beside this program.
///
/// # Errors
/// When it cannot be run to its end.
pub fn run(args: &Args) -> Result<Page> {
    tokio::runtime::Runtime::new()?.block_on(run_all(args))
}

async fn run_all(args: &Args) -> Result<Page> {
    let folder = scratch::on_disk()?;
    let dir = folder.path().join("sim");
    fs::create_dir(&dir)?;
    let knobs = Knobs { latency_ms: 20.0, ..Knobs::default() };
    let fleet =
        Fleet::start(FleetConfig { nodes: 1, dir, knobs, ..FleetConfig::default() }).await?;
    let mut invoices = Invoices::new(fleet.config().seed);
    let mut page = Page::new("disk-errors: the disk fails under the engine");
    let mut lines = Vec::new();
    for (number, (name, harm)) in CASES.into_iter().enumerate() {
        if args.only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let home = folder.path().join(format!("engine-{number}"));
        let case = Case::prepare(&home, &fleet, &mut invoices)?;
        match case.run(harm).await {
            Ok(line) => lines.push((name, line)),
            Err(error) => page.wrong(format!("{name}: {error:#}")),
        }
    }
    page.table("cases", lines);
    page.note(
        "The folder is looked for at each write: an engine with nothing to write notices with the \
         next\norder that it is gone.",
    );
    Ok(page)
}

/// One engine whose disk fails.
struct Case {
    home: PathBuf,
    engine: Engine,
    strings: Strings,
    invoices: Vec<String>,
    _control: TempDir,
}

/// An order that was acknowledged.
#[derive(Clone, Debug)]
struct Acknowledged {
    request: Request,
    id: String,
    when: Instant,
}

/// What clients were told, and whether they go on.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Mutex<Vec<Acknowledged>>,
    enough: AtomicBool,
}

impl Told {
    fn list(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn order(&self, doors: Doors, number: usize, invoices: Vec<String>) {
        for (at, invoice) in invoices.into_iter().enumerate() {
            if self.enough.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("client-{number}-{at}");
            let request = match at % 2 {
                0 => Request::Grpc(key, invoice),
                _ => Request::Http(key, invoice),
            };
            // What is not answered promises nothing: the client of another order goes on.
            let Ok(accepted) = request.send(doors).await else { continue };
            let acknowledged = Acknowledged { request, id: accepted.id, when: Instant::now() };
            self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(acknowledged);
        }
    }
}

impl Case {
    fn prepare(home: &Path, fleet: &Fleet, invoices: &mut Invoices) -> Result<Case> {
        let node = &fleet.nodes()[0];
        let node = NodeEntry {
            name: node.name.clone(),
            address: node.address.clone(),
            tls_cert: node.tls_cert.clone(),
            macaroon: node.macaroon.clone(),
        };
        let mut engine = Engine::prepare(home, &[node], Sections::default())?;
        let control = scratch::on_disk()?;
        let strings = Strings::new(control.path(), &home.join("journal"))?;
        engine.set_environment(strings.environment());
        let home = home.to_owned();
        Ok(Case { home, engine, strings, invoices: invoices.take(2_000)?, _control: control })
    }

    async fn run(mut self, harm: Harm) -> Result<String> {
        // Some life first, so that there is a journal that must not be harmed.
        self.engine.spawn()?;
        self.engine.wait_ready()?;
        let told = Arc::new(Told::default());
        let clients = self.start_clients(&told);
        let enough = async || Ok((told.list().len() >= BEFORE).then_some(()));
        until("orders to be acknowledged", END_MAX, enough).await?;
        if let Harm::AtStart(_) = harm {
            self.engine.terminate()?;
        }
        self.harm(harm)?;
        let harmed = Instant::now();
        if let Harm::AtStart(_) = harm {
            self.engine.spawn()?;
        }
        let ended = async || self.engine.ended();
        let status = Some(until("the engine to end", END_MAX, ended).await?);
        let took = harmed.elapsed();
        told.enough.store(true, Ordering::Relaxed);
        for client in clients {
            client.await?;
        }
        let known = told.list();
        let words = self.check_end(status, harm, &known, harmed)?;
        let syncs = self.strings.syncs_after()?;
        ensure!(syncs == 0, "{syncs} syncs were tried after the first error");
        self.cure(harm)?;
        let ready = self.check_known(&known).await?;
        Ok(format!(
            "exit {EXIT} after {} ms, no sync after the first error; cured: ready in {} ms, all of \
             {} known; {words}",
            took.as_millis(),
            ready.as_millis(),
            known.len(),
        ))
    }

    fn start_clients(&mut self, told: &Arc<Told>) -> Vec<JoinHandle<()>> {
        let doors = self.doors();
        let share = self.invoices.len() / CLIENTS;
        let start = |number: usize| {
            let invoices = self.invoices.split_off(self.invoices.len() - share);
            let told = Arc::clone(told);
            tokio::spawn(async move { told.order(doors, number, invoices).await })
        };
        (0..CLIENTS).map(start).collect()
    }

    fn doors(&self) -> Doors {
        Doors { grpc: self.engine.grpc(), http: self.engine.http() }
    }

    fn journal(&self) -> PathBuf {
        self.home.join("journal")
    }

    fn kept(&self) -> PathBuf {
        self.home.join("kept")
    }

    fn harm(&self, harm: Harm) -> Result<()> {
        match harm {
            Harm::Running(fault) | Harm::AtStart(fault) => self.strings.set_fault(fault)?,
            Harm::Moved => fs::rename(self.journal(), self.kept())?,
            Harm::Removed => {
                // The same files under other names: what was written to them is not lost.
                link(&self.journal(), &self.kept())?;
                fs::remove_dir_all(self.journal())?;
            }
        }
        Ok(())
    }

    fn cure(&self, harm: Harm) -> Result<()> {
        match harm {
            Harm::Running(_) | Harm::AtStart(_) => self.strings.set_fault(Fault::None)?,
            Harm::Moved | Harm::Removed => fs::rename(self.kept(), self.journal())?,
        }
        Ok(())
    }

    /// How it ended; its last line.
    fn check_end(
        &self,
        status: Option<ExitStatus>,
        harm: Harm,
        known: &[Acknowledged],
        harmed: Instant,
    ) -> Result<String> {
        let status = status.context("it did not end")?;
        let words = self.engine.last_words().lines().last().unwrap_or_default().to_owned();
        ensure!(status.code() == Some(EXIT), "ended with {status}: {words}");
        ensure!(words.starts_with("fulgurite: "), "the last line says nothing: {words}");
        let advises = ["check the disk", "bring it back", "journal verify"];
        ensure!(advises.iter().any(|advice| words.contains(advice)), "no advice in: {words}");
        let last = known.iter().map(|known| known.when).max().context("nothing acknowledged")?;
        let late = last.saturating_duration_since(harmed);
        ensure!(late < SILENT_AFTER, "{harm:?}: acknowledged {late:?} after it");
        Ok(words)
    }

    /// Starts it on the cured disk: everything acknowledged must be known. How long it took.
    async fn check_known(&mut self, known: &[Acknowledged]) -> Result<Duration> {
        let started = Instant::now();
        self.engine.spawn()?;
        self.engine.wait_ready()?;
        let ready = started.elapsed();
        for known in known {
            let again = known.request.send(self.doors()).await?;
            let key = known.request.key();
            ensure!(again.replayed, "{key} was acknowledged and is new now");
            ensure!(again.id == known.id, "{key} was {} and is {} now", known.id, again.id);
        }
        let (code, _) = self.engine.terminate()?;
        ensure!(code == Some(0), "it does not stop in order: {code:?}");
        Ok(ready)
    }
}

/// Gives every file below `from` a second name below `to`.
fn link(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link(&entry.path(), &target)?;
        } else {
            fs::hard_link(entry.path(), target)?;
        }
    }
    Ok(())
}
