//! `journal`: reads journals of engines that do not run.

use std::{
    io::{BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use fulgurite_journal::{Anchor, DumpOptions, Verdict, dump::DumpError, store::StoreError};

use super::{
    exit::{Exit, Fault},
    print_line, say,
};
use crate::wire::time;

/// What to do with a journal.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Reads all of it and checks every record. Exit code 0: clean, 1: damaged or
    /// without its watermark file, 2: no journal.
    Verify {
        /// The journal's folder.
        dir: PathBuf,
    },
    /// Prints every event, one JSON object a line; never a preimage.
    Dump {
        /// The journal's folder.
        dir: PathBuf,
        /// Begins with this event.
        #[arg(long, default_value_t = 0, value_name = "LSN")]
        from: u64,
        /// Ends with this event.
        #[arg(long, default_value_t = u64::MAX, hide_default_value = true, value_name = "LSN")]
        to: u64,
        /// Shows invoices and what clients wrote, too.
        #[arg(long)]
        with_content: bool,
    },
}

/// Runs a command about a journal.
///
/// # Errors
/// [`Fault::Usage`] when the folder has no journal, [`Fault::Failed`] when it cannot be read.
pub fn run(command: JournalCommand, json: bool) -> Result<Exit, Fault> {
    match command {
        JournalCommand::Verify { dir } => Ok(verify(&dir, json)),
        JournalCommand::Dump { dir, from, to, with_content } => {
            dump(&dir, &DumpOptions { lsns: from..=to, with_content })
        }
    }
}

fn verify(dir: &Path, json: bool) -> Exit {
    let report = fulgurite_journal::verify(dir);
    let (verdict, exit) = match &report.verdict {
        Verdict::Clean => ("clean", Exit::SUCCESS),
        Verdict::Damaged { .. } => ("damaged", Exit::INCOMPLETE),
        Verdict::NoWatermark { .. } => ("no_watermark", Exit::INCOMPLETE),
        Verdict::NotAJournal => ("not_a_journal", Exit::USAGE),
    };
    if json {
        let mut object = serde_json::json!({
            "dir": dir.display().to_string(),
            "verdict": verdict,
            "last_lsn": report.last_lsn.to_string(),
            "records": report.records,
            "epochs": report.epochs,
        });
        if let Some(anchor) = &report.removed {
            object["removed_lsn"] = anchor.position.lsn.to_string().into();
            object["removed_chain"] = chain(anchor).into();
            object["removed_at"] = time::text(anchor.removed).into();
        }
        if let Verdict::Damaged { lsn, reason } = &report.verdict {
            object["damaged_lsn"] = lsn.to_string().into();
            object["reason"] = reason.to_string().into();
        }
        if let Verdict::NoWatermark { path, missing } = &report.verdict {
            object["reason"] = no_watermark(path, *missing).into();
        }
        print_line(&object.to_string());
        return exit;
    }
    let folder = dir.display();
    let removed = report.removed.as_ref();
    if let Some(anchor) = removed {
        print_line(&format!("{folder}: {}", removed_text(anchor)));
    }
    match &report.verdict {
        Verdict::Clean => {
            let kept = report.last_lsn - removed.map_or(0, |anchor| anchor.position.lsn);
            let (records, epochs) = (report.records, report.epochs);
            print_line(&format!(
                "{folder}: clean, {kept} events in {records} records, {epochs} starts"
            ));
        }
        Verdict::Damaged { lsn, reason } => {
            print_line(&format!("{folder}: damaged from event {lsn} on: {reason}"));
            say(&format!(
                "{} events before it are clean; keep the folder as it is and ask for help: an older \
                 copy knows less than the nodes do, and paying from it may pay twice",
                report.last_lsn
            ));
        }
        Verdict::NoWatermark { path, missing } => {
            print_line(&format!(
                "{folder}: {} events in {} records are whole, but {}",
                report.last_lsn,
                report.records,
                no_watermark(path, *missing)
            ));
            say(
                "if this is a copy, copy that file too; else start the engine: before it sends it \
                 compares the nodes' payments with the journal, ends when it misses one, and \
                 writes the file anew",
            );
        }
        Verdict::NotAJournal => say(&format!("{folder}: not a journal")),
    }
    exit
}

/// What is wrong with the watermark file, and what that means.
fn no_watermark(path: &Path, missing: bool) -> String {
    let wrong = if missing { "is missing" } else { "is damaged" };
    format!(
        "{} {wrong}: it says up to which event the journal was acknowledged, and without it nobody \
         can tell whether events are gone at the end",
        path.display()
    )
}

/// What retention removed, as people read it.
fn removed_text(anchor: &Anchor) -> String {
    format!(
        "events 1 to {}, the newest of {}, were removed by retention on {}; the chain goes on from {}",
        anchor.position.lsn,
        time::text(anchor.time),
        time::text(anchor.removed),
        chain(anchor)
    )
}

fn chain(anchor: &Anchor) -> String {
    anchor.position.chain.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn dump(dir: &Path, options: &DumpOptions) -> Result<Exit, Fault> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let dumped = fulgurite_journal::dump(dir, options, &mut out)
        .and_then(|removed| out.flush().map(|()| removed).map_err(DumpError::from));
    match dumped {
        Ok(removed) => {
            if let Some(anchor) = removed {
                say(&format!("{}: {}", dir.display(), removed_text(&anchor)));
            }
            Ok(Exit::SUCCESS)
        }
        Err(DumpError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::SUCCESS),
        Err(DumpError::Store(StoreError::NotAJournal(_))) => {
            Err(Fault::Usage(format!("{}: not a journal", dir.display())))
        }
        Err(error) => Err(Fault::Failed(format!("{}: {error}", dir.display()))),
    }
}
