//! Checks in processes of their own: an engine whose journal cannot be written ends its process,
//! and what damaged files do to RocksDB must not end the proof.

use std::{
    io::{BufRead, BufReader, Read, Write},
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{content::Outcome, preload, scratch};

/// What one worker does; a process that the prover starts.
#[derive(Clone, Debug, clap::Args)]
pub struct Share {
    /// The folder of the recording.
    #[arg(long)]
    pub recording: PathBuf,
    /// An empty folder of its own.
    #[arg(long)]
    pub scratch: PathBuf,
    /// Decides everything.
    #[arg(long)]
    pub seed: u64,
    /// How many checks there are in all.
    #[arg(long)]
    pub total: u32,
    /// The place of this worker's first check.
    #[arg(long)]
    pub first: u32,
    /// Its next one is so many places on.
    #[arg(long)]
    pub step: u32,
}

impl Share {
    /// The places of this worker's checks.
    pub fn places(&self) -> impl Iterator<Item = u32> {
        (self.first..self.total).step_by(self.step as usize)
    }
}

/// Says that the check at this place begins.
///
/// # Errors
/// When the prover is gone.
pub fn begin(place: u32) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{place}")?)
}

/// Says how it ended.
///
/// # Errors
/// When the prover is gone.
pub fn end(outcome: &Outcome) -> Result<()> {
    let (kind, text) = match outcome {
        Outcome::Same { last, removed } => ("same", format!("{last} {removed}")),
        Outcome::Refused(text) => ("refused", text.replace('\n', " ")),
        Outcome::Detected(text) => ("detected", text.replace('\n', " ")),
        Outcome::Silent(text) => ("silent", text.replace('\n', " ")),
    };
    Ok(writeln!(std::io::stdout(), "{kind}\t{text}")?)
}

/// Runs `total` checks as the subcommand `name` of `program`, and calls `note` with the place and
/// outcome of each.
///
/// # Errors
/// When a worker cannot be started, or ends without a check to blame.
pub fn run(
    program: &Path,
    name: &str,
    (recording, seed, total): (&Path, u64, u32),
    mut note: impl FnMut(u32, Outcome),
) -> Result<()> {
    let step = thread::available_parallelism().map_or(1, NonZero::get) as u32;
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let worker = |first| {
            let sender = sender.clone();
            scope.spawn(move || {
                // The prover's own: a worker that ends its process removes nothing.
                let home = scratch::in_memory()?;
                let (recording, scratch) = (recording.to_owned(), home.path().join("state"));
                let mut share = Share { recording, scratch, seed, total, first, step };
                while share.first < total {
                    scratch::empty(&share.scratch)?;
                    let last = work(program, name, &share, |place, outcome| {
                        sender.send((place, outcome)).map_err(|_| anyhow!("the prover is gone"))
                    })?;
                    share.first = last + step;
                }
                Ok::<_, anyhow::Error>(())
            })
        };
        let started: Vec<_> = (0..step).map(worker).collect();
        drop(sender);
        for (done, (place, outcome)) in (1_u32..).zip(receiver) {
            note(place, outcome);
            if done.is_multiple_of(1_000) {
                eprintln!("{done} of {total}");
            }
        }
        started.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("a thread of the proof panicked"))?
        })
    })
}

/// The exit code of a share that could not be checked, such as on a full disk.
pub const EXIT_FAULT: u8 = 70;

/// A check takes milliseconds; one that takes so long does not end.
const CHECK_MAX: Duration = Duration::from_secs(30);

/// Runs one worker to its end; the place of the last check that it began.
fn work(
    program: &Path,
    name: &str,
    share: &Share,
    mut note: impl FnMut(u32, Outcome) -> Result<()>,
) -> Result<u32> {
    let mut command = Command::new(program);
    command.arg(name).arg("--recording").arg(&share.recording);
    command.arg("--scratch").arg(&share.scratch);
    preload::lean(&mut command, share.scratch.parent().context("no folder")?)?;
    command.args(["--seed", &share.seed.to_string(), "--total", &share.total.to_string()]);
    command.args(["--first", &share.first.to_string(), "--step", &share.step.to_string()]);
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting a worker")?;
    let mut said = child.stderr.take().context("no errors")?;
    let errors = thread::spawn(move || {
        let mut text = String::new();
        said.read_to_string(&mut text).map(|_| text)
    });
    let output = BufReader::new(child.stdout.take().context("no output")?);
    let (told, heard) = mpsc::channel();
    // It ends with the worker's output; nobody may listen any more.
    thread::spawn(move || output.lines().try_for_each(|line| told.send(line)));
    let (mut begun, mut last, mut is_stuck) = (None, None, false);
    loop {
        let line = match heard.recv_timeout(CHECK_MAX) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                is_stuck = true;
                child.kill()?;
                break;
            }
        };
        if let Some((kind, text)) = line.split_once('\t') {
            let place = begun.take().context("a check ended that did not begin")?;
            note(place, outcome(kind, text)?)?;
        } else {
            begun = Some(line.parse::<u32>()?);
            last = begun;
        }
    }
    let status = child.wait()?;
    let errors = errors.join().map_err(|_| anyhow!("a thread of the proof panicked"))??;
    let words = errors.lines().last().unwrap_or_default().to_owned();
    if let Some(place) = begun {
        let outcome = match status.code() {
            _ if is_stuck => Outcome::Silent(format!("did not end within {CHECK_MAX:?}")),
            Some(code) if code == i32::from(EXIT_FAULT) => bail!("at {place}: {words}"),
            Some(74) => Outcome::Refused(words),
            _ => Outcome::Silent(format!("the process ended: {status}: {words}")),
        };
        note(place, outcome)?;
    } else {
        ensure!(status.success(), "a worker failed: {status}: {words}");
    }
    last.context("a worker did nothing")
}

fn outcome(kind: &str, text: &str) -> Result<Outcome> {
    Ok(match kind {
        "same" => {
            let (last, removed) = text.split_once(' ').context("two events")?;
            Outcome::Same { last: last.parse()?, removed: removed.parse()? }
        }
        "refused" => Outcome::Refused(text.to_owned()),
        "detected" => Outcome::Detected(text.to_owned()),
        "silent" => Outcome::Silent(text.to_owned()),
        other => return Err(anyhow!("an unknown outcome: {other}")),
    })
}
