//! A journal that is written as the engine writes it, over several starts, with every call that
//! reached its files and every acknowledgement in one recorded order.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fulgurite_core::{Event, Lsn};
use fulgurite_journal::{JournalOptions, Opened, Store, open, reader::key, store::Family};
use tempfile::TempDir;

use crate::{
    history::{History, NOW},
    preload,
    random::Random,
    scratch,
};

/// How one start of the recording plays; a process of its own, which the prover starts.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the journal is.
    #[arg(long)]
    folder: PathBuf,
    /// Where acknowledgements go.
    #[arg(long)]
    acknowledged: PathBuf,
    /// Decides the history.
    #[arg(long)]
    seed: u64,
    /// Which start this is, from 1.
    #[arg(long)]
    start: u32,
    /// How many steps of a history each start plays.
    #[arg(long)]
    steps: usize,
    /// Removes records that are so old.
    #[arg(long)]
    keep_ms: i64,
}

/// What a recording is of.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Decides the history.
    pub seed: u64,
    /// How many starts there are; every second one is killed.
    pub starts: u32,
    /// How many steps of a history each start plays.
    pub steps: usize,
    /// Old records are removed meanwhile.
    pub keep: bool,
}

/// A history's events are a millisecond apart.
const KEEP_MS: i64 = 60;

/// Rows of the large batch of each start: more than two write batches of the projector.
const LARGE_BATCH: u32 = 400;

/// The options of a journal with few events, which takes snapshots all the same; 0 keeps all of its
/// records.
pub fn options(folder: &Path, keep_ms: i64) -> JournalOptions {
    JournalOptions {
        snapshot_every_events: 60,
        keep_ms,
        clock: || NOW.plus_ms(60_000),
        ring_events_max: 64,
        projector_groups_max: 16,
        ..JournalOptions::new(folder)
    }
}

/// Plays one start: appends, waits until it is durable, acknowledges. Odd starts close the
/// journal; after an even one the prover kills the process.
///
/// # Errors
/// When the journal does not open with what was acknowledged.
pub fn play(args: &Args) -> Result<()> {
    let (mut history, mut before) = (History::new(args.seed), 0);
    for start in 1..args.start {
        before = history.book.lsn;
        history.start(start, env!("CARGO_PKG_VERSION"));
        steps(&mut history, args.steps);
    }
    history.start(args.start, env!("CARGO_PKG_VERSION"));
    let mut acknowledged = fs::File::create(&args.acknowledged)?;
    if args.keep_ms > 0 && args.start > 1 {
        settle(&args.folder, before + 1)?;
    }
    let opened = open(options(&args.folder, args.keep_ms), NOW)?;
    ensure!(opened.book == history.book, "what was recovered is not what was acknowledged");
    let mut random = Random::new(args.seed ^ u64::from(args.start) << 32);
    let mut acknowledge = |lsn: Lsn| acknowledged.write_all(&lsn.to_le_bytes());
    acknowledge(opened.book.lsn)?;
    let mut events = steps(&mut history, args.steps).into_iter().peekable();
    while events.peek().is_some() {
        let group: Vec<_> = events.by_ref().take(1 + random.below(9)).collect();
        let last = opened.journal.append_many(group);
        opened.journal.watermark().block_until(last);
        acknowledge(last)?;
        if random.one_in(3) {
            opened.views.projected().block_until(last);
        }
    }
    // By then enough is old; the thread may take its time, and later states begin behind it.
    if args.keep_ms > 0 && args.start > 2 {
        await_removal(&opened);
    }
    if args.start % 2 == 1 {
        opened.running.close();
        return Ok(());
    }
    println!("done");
    // Until the prover kills this process.
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Brings the records from this event on to a file of their own, as a long history does by itself:
/// whole files alone are removed.
fn settle(folder: &Path, from: Lsn) -> Result<()> {
    let store = Store::open(folder)?;
    let records = store.family(Family::Journal);
    store.db().flush_cf(records)?;
    store.db().compact_range_cf(records, Some(key(from)), None::<[u8; 8]>);
    Ok(())
}

/// Waits until old records are removed, unless too little happened yet: in the end they must be.
fn await_removal(opened: &Opened) {
    let until = Instant::now() + Duration::from_secs(2);
    while opened.journal.totals().oldest_lsn == 1 && Instant::now() < until {
        thread::yield_now();
    }
}

/// What one start appends: with a batch in the middle whose rows of views fill many pages without
/// a sync between them.
fn steps(history: &mut History, steps: usize) -> Vec<Event> {
    let mut events = history.steps(steps / 2);
    events.extend(history.large_batch(LARGE_BATCH));
    events.extend(history.steps(steps / 2));
    events
}

/// Its records were removed in part.
const KEEP_FILE: &str = "keep";

/// A finished recording.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    script: Script,
    /// Removes the folder with the recording that made it.
    made: Option<TempDir>,
}

impl Recording {
    /// Plays a script with `program`, which must be this program.
    ///
    /// # Errors
    /// When a start fails.
    pub fn make(program: &Path, script: Script) -> Result<Recording> {
        let folder = scratch::on_disk()?;
        let recording = Recording { folder: folder.path().to_owned(), script, made: Some(folder) };
        fs::create_dir(recording.base())?;
        if script.keep {
            fs::write(recording.folder.join(KEEP_FILE), [])?;
        }
        for start in 1..=script.starts {
            recording.start(program, start)?;
        }
        Ok(recording)
    }

    /// The recording that another process made in `folder` of this script; whether records were
    /// removed is known there.
    pub fn of(folder: &Path, script: Script) -> Recording {
        let keep = folder.join(KEEP_FILE).exists();
        Recording { folder: folder.to_owned(), script: Script { keep, ..script }, made: None }
    }

    /// Its events, from the first.
    pub fn events(&self) -> Vec<Event> {
        let Script { seed, starts, steps, .. } = self.script;
        let mut history = History::new(seed);
        let mut events = Vec::new();
        for epoch in 1..=starts {
            let version = env!("CARGO_PKG_VERSION");
            history.start(epoch, version);
            events.push(Event::EngineStarted { epoch, time: NOW, version: version.into() });
            events.extend(self::steps(&mut history, steps));
        }
        events
    }

    /// How long its records are kept, in milliseconds; 0 is for ever.
    pub fn keep_ms(&self) -> i64 {
        if self.script.keep { KEEP_MS } else { 0 }
    }

    /// Where all of it is.
    pub fn folder(&self) -> &Path {
        self.made.as_ref().map_or(&self.folder, TempDir::path)
    }

    fn start(&self, program: &Path, start: u32) -> Result<()> {
        let Script { seed, steps, .. } = self.script;
        let mut command = Command::new(program);
        command.arg("record").arg("--folder").arg(self.journal());
        command.arg("--acknowledged").arg(self.folder.join("acknowledged"));
        let numbers = [("--seed", seed), ("--start", start.into()), ("--steps", steps as u64)];
        for (name, number) in numbers {
            command.args([name, &number.to_string()]);
        }
        command.args(["--keep-ms", &self.keep_ms().to_string()]);
        preload::record(&mut command, &self.base(), &self.log())?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting the recording")?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut said)?;
        let killed = said == "done\n";
        if killed {
            child.kill()?;
        }
        let status = child.wait()?;
        ensure!(killed || status.success(), "start {start} of the recording failed: {status}");
        Ok(())
    }

    /// The folder in which everything was made from nothing; it was there before.
    pub fn base(&self) -> PathBuf {
        self.folder.join("base")
    }

    /// The journal as it is at the end.
    pub fn journal(&self) -> PathBuf {
        self.base().join("data/journal")
    }

    /// What was recorded.
    pub fn log(&self) -> PathBuf {
        self.folder.join("record")
    }
}

/// This program, to be started again.
///
/// # Errors
/// What the operating system says.
pub fn this_program() -> io::Result<PathBuf> {
    env::current_exe()
}
