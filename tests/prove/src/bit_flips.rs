//! `bit-flips`: single bits of a journal's files are flipped, one at a time.
//!
//! Each is detected (the journal refuses to open, or whoever reads the damaged part is told) or
//! harmless: everything that the journal says is provably what it said before.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

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
    /// How many bits, one at a time.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub flips: u32,
    /// Decides the journal and the bits.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Old records are removed meanwhile, as `journal.keep_days` does.
    #[arg(long)]
    pub keep: bool,
}

/// The last start of a recording with so many is killed: its log is what a crash leaves.
const STARTS: u32 = 4;
const STEPS: usize = 80;
/// The last block of RocksDB's log: what is cut there can look like a torn tail.
const LAST_BLOCK: usize = 32 << 10;

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
    let truth = Truth::of(&recording)?;
    let files = Files::list(&recording.journal())?;
    let mut found = Found::default();
    let share = (recording.folder(), args.seed, args.flips);
    let mut broken = None;
    workers::run(program, "bit-flips-share", share, |number, outcome| {
        match files.choose(args.seed, number) {
            Ok(flip) => found.note(&flip, outcome),
            Err(error) => broken = Some(error),
        }
    })?;
    broken.map_or_else(|| Ok(found.page(args, &truth)), Err)
}

/// A worker's share.
///
/// # Errors
/// When it cannot be done to its end.
pub fn work(share: &Share) -> Result<()> {
    let recording = Recording::of(&share.recording, script(share.seed, false));
    let truth = Truth::of(&recording)?;
    let files = Files::list(&recording.journal())?;
    let folder = share.scratch.join("journal");
    for number in share.places() {
        workers::begin(number)?;
        scratch::empty(&share.scratch)?;
        scratch::copy(&recording.journal(), &folder)?;
        let flip = files.choose(share.seed, number)?;
        let mut bytes = fs::read(folder.join(flip.path))?;
        bytes[flip.at] ^= flip.bit;
        fs::write(folder.join(flip.path), bytes)?;
        workers::end(&truth.check(&folder, truth.last()))?;
    }
    Ok(())
}

/// The journal's files by kind, with their lengths.
struct Files(BTreeMap<&'static str, Vec<(PathBuf, usize)>>);

const WAL: &str = "log (WAL)";
const WAL_END: &str = "log (WAL), its last block";

impl Files {
    fn list(journal: &Path) -> Result<Files> {
        let mut files: BTreeMap<&str, Vec<(PathBuf, usize)>> = BTreeMap::new();
        for entry in fs::read_dir(journal.join("rocksdb"))?.chain(fs::read_dir(journal)?) {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let kind = match name {
                _ if name.ends_with(".log") => WAL,
                _ if name.ends_with(".sst") => "tables (SST), snapshots in them",
                _ if name.starts_with("MANIFEST") => "MANIFEST",
                "CURRENT" | "watermark" | "IDENTITY" => name_of(name),
                // RocksDB's own log for people, its lock, and its note of options.
                _ => continue,
            };
            let length = fs::metadata(&path)?.len() as usize;
            if length > 0 {
                let below = path.strip_prefix(journal)?.to_owned();
                files.entry(kind).or_default().push((below, length));
            }
        }
        let logs = files.get(WAL).context("the recording left no log")?.clone();
        files.insert(WAL_END, logs);
        Ok(Files(files))
    }

    /// The flip with this number: each kind of file as often as the others.
    fn choose(&self, seed: u64, number: u32) -> Result<Flip<'_>> {
        let mut random = Random::new(seed << 32 | u64::from(number));
        let (kind, files) =
            self.0.iter().nth(number as usize % self.0.len()).context("no files")?;
        let (path, length) = &files[random.below(files.len())];
        let from = if *kind == WAL_END { length.saturating_sub(LAST_BLOCK) } else { 0 };
        let at = from + random.below(length - from);
        Ok(Flip { kind, path, at, bit: 1 << random.below(8) })
    }
}

/// One bit of one file.
struct Flip<'a> {
    kind: &'static str,
    path: &'a Path,
    at: usize,
    bit: u8,
}

fn name_of(name: &str) -> &'static str {
    match name {
        "CURRENT" => "CURRENT",
        "watermark" => "watermark",
        _ => "IDENTITY",
    }
}

/// What came of the flips.
#[derive(Debug, Default)]
struct Found {
    by_kind: BTreeMap<&'static str, Counts>,
    verdicts: Verdicts,
}

impl Found {
    fn note(&mut self, flip: &Flip<'_>, outcome: Outcome) {
        let name = self.verdicts.take(outcome, [HARMLESS, SILENT], || {
            format!("{} byte {} bit {:#04x}", flip.path.display(), flip.at, flip.bit)
        });
        self.by_kind.entry(flip.kind).or_default().add(name);
    }

    fn page(self, args: &Args, truth: &Truth) -> Page {
        let mut page = Page::new(format!(
            "bit-flips, seed {}: a journal of {} events over {STARTS} starts, as a kill leaves it",
            args.seed,
            truth.last()
        ));
        let names = [REFUSED, DETECTED, HARMLESS, SILENT];
        let lines = self.by_kind.iter().map(|(kind, counts)| {
            let line = names.map(|name| (name.to_owned(), counts.of(name).into()));
            (*kind, Value::Object(line.into_iter().collect()))
        });
        page.table("flips by file", lines);
        let sum = |name| self.by_kind.values().map(|counts| counts.of(name)).sum::<u64>();
        page.table("flips", names.map(|name| (name, sum(name))));
        self.verdicts.show(&mut page, "what is said");
        page.note(
            "Harmless: opened, and every event, every open batch, every view answer is what it \
             was.\nTold to readers: a start does not read old history; `journal verify` and \
             whoever reads it does.",
        );
        page
    }
}

/// Everything is what it was.
pub const HARMLESS: &str = "harmless";
/// The promise is broken.
pub const SILENT: &str = "SILENT";
