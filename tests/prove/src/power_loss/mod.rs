//! `power-loss`: what a crash of the machine could leave of a journal.
//!
//! A journal is written over several starts while every call that reaches its files is recorded.
//! At random places between two calls the machine "crashes": states of the disk that it could
//! leave are rebuilt, and the journal is opened on each.

pub mod disk;
pub mod log;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use self::disk::{Disk, Loss};
use crate::{
    content::{Outcome, Truth},
    random::Random,
    recording::{Recording, Script, this_program},
    report::{Counts, Page},
    scratch,
    verdicts::{DETECTED, REFUSED, Verdicts},
    workers::{self, Share},
};

/// How much is tried.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many states of the disk.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub states: u32,
    /// Decides the journal and the states.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Old records are removed meanwhile, as `journal.keep_days` does.
    #[arg(long)]
    pub keep: bool,
    /// Opens only the state with this number, and leaves it for you to look at.
    #[arg(long, value_name = "NUMBER")]
    pub only: Option<u32>,
}

/// How many starts a recording has; every second one is killed.
const STARTS: u32 = 6;
/// How many steps of a history each start plays.
const STEPS: usize = 60;

fn script(seed: u64, keep: bool) -> Script {
    Script { seed, starts: STARTS, steps: STEPS, keep }
}

/// Runs the proof with this program as the one that writes the journal.
///
/// # Errors
/// When it cannot be run to its end.
pub fn run(args: &Args) -> Result<Page> {
    run_with(&this_program()?, args)
}

/// The same with `program`, which must be `fulgurite-prove`.
///
/// # Errors
/// When it cannot be run to its end.
pub fn run_with(program: &Path, args: &Args) -> Result<Page> {
    let recording = Recording::make(program, script(args.seed, args.keep))?;
    let proof = Proof::load(&recording)?;
    if let Some(only) = args.only {
        return proof.open_one(args, only);
    }
    let plan = proof.plan(args.seed, args.states);
    let mut found = Found::default();
    let share = (recording.folder(), args.seed, args.states);
    workers::run(program, "power-loss-share", share, |place, outcome| {
        found.note(&plan[place as usize], outcome);
    })?;
    Ok(found.page(args, &proof))
}

/// A worker's share.
///
/// # Errors
/// When it cannot be done to its end.
pub fn work(share: &Share) -> Result<()> {
    let proof = Proof::load(&Recording::of(&share.recording, script(share.seed, false)))?;
    let plan = proof.plan(share.seed, share.total);
    let mut disk = Disk::new(&proof.record, &proof.base);
    let mut made = 0;
    for place in share.places() {
        workers::begin(place)?;
        let state = &plan[place as usize];
        proof.calls[made..state.calls].iter().for_each(|call| disk.apply(call));
        made = state.calls;
        scratch::empty(&share.scratch)?;
        workers::end(&proof.open(&disk, state, share.seed, &share.scratch)?)?;
    }
    Ok(())
}

/// One state: its number, between which calls, and what is lost.
#[derive(Clone, Debug)]
struct State {
    number: u32,
    calls: usize,
    loss: Loss,
}

struct Proof {
    record: Vec<u8>,
    calls: Vec<log::Call>,
    base: PathBuf,
    truth: Truth,
}

impl Proof {
    fn load(recording: &Recording) -> Result<Proof> {
        let record = fs::read(recording.log())?;
        let calls = log::read(&record)?;
        let truth = Truth::of(recording)?;
        ensure!(truth.last() > 100, "the recording has only {} events", truth.last());
        Ok(Proof { record, calls, base: recording.base(), truth })
    }

    /// The states, in the order of the calls.
    fn plan(&self, seed: u64, states: u32) -> Vec<State> {
        let mut random = Random::new(seed);
        let mut plan: Vec<State> = (0..states)
            .map(|number| {
                let calls = 1 + random.below(self.calls.len());
                State { number, calls, loss: Loss::ALL[number as usize % Loss::ALL.len()] }
            })
            .collect();
        plan.sort_by_key(|state| state.calls);
        plan
    }

    /// Rebuilds a state of the disk in an empty folder and opens the journal on it.
    fn open(&self, disk: &Disk<'_>, state: &State, seed: u64, folder: &Path) -> Result<Outcome> {
        let mut random = Random::new(seed << 32 | u64::from(state.number));
        disk.crash(state.loss, &mut random, folder)?;
        Ok(self.truth.check(&folder.join("data/journal"), disk.acknowledged()))
    }

    fn open_one(&self, args: &Args, number: u32) -> Result<Page> {
        let plan = self.plan(args.seed, args.states);
        let state = plan.iter().find(|state| state.number == number).context("no such state")?;
        let mut disk = Disk::new(&self.record, &self.base);
        self.calls[..state.calls].iter().for_each(|call| disk.apply(call));
        let folder = scratch::keep(scratch::on_disk()?);
        eprintln!("state {number}, after {:?}: {}", self.calls[state.calls - 1], folder.display());
        let mut found = Found::default();
        found.note(state, self.open(&disk, state, args.seed, &folder)?);
        Ok(found.page(args, self))
    }
}

/// What came of the states.
#[derive(Debug, Default)]
struct Found {
    states: Counts,
    outcomes: Counts,
    /// How many of the whole ones began behind removed records.
    behind: u64,
    verdicts: Verdicts,
}

impl Found {
    fn note(&mut self, state: &State, outcome: Outcome) {
        self.states.add(state.loss.name());
        if matches!(outcome, Outcome::Same { removed: 1.., .. }) {
            self.behind += 1;
        }
        let name = self.verdicts.take(outcome, [WHOLE, SILENT], || {
            format!("state {} ({})", state.number, state.loss.name())
        });
        self.outcomes.add(name);
    }

    fn page(self, args: &Args, proof: &Proof) -> Page {
        let Proof { calls, truth, .. } = proof;
        let syncs = calls.iter().filter(|call| matches!(call, log::Call::SyncEnds(_))).count();
        let mut page = Page::new(format!(
            "power-loss, seed {}: a journal of {} events over {STARTS} starts; {} calls were \
             recorded, {syncs} of them syncs",
            args.seed,
            truth.last(),
            calls.len()
        ));
        page.table("states", self.states);
        let outcomes = [WHOLE, REFUSED, DETECTED, SILENT];
        let counts = outcomes.map(|name| (name, self.outcomes.of(name)));
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        if all > 1 && self.outcomes.of(WHOLE) * 2 < all {
            // One that never opens loses nothing either.
            page.wrong("less than half of the states opened");
        }
        page.table("outcomes", counts);
        if args.keep {
            page.table("of those that opened whole", [(BEHIND, self.behind)]);
        }
        self.verdicts.show(&mut page, "refusals");
        page.note(
            "Every state has all files as they were synced; of what was not synced, parts. Names \
             of files\nare lost without a sync of their folder. A disk that acknowledges a sync \
             and loses it is not\namong the states.",
        );
        page
    }
}

/// Everything acknowledged is there.
pub const WHOLE: &str = "opened, everything acknowledged is there";
/// Retention had removed records before the crash.
pub const BEHIND: &str = "begin behind removed records";
/// The promise is broken.
pub const SILENT: &str = "SILENT: fewer or other events or views";
