//! `journal`: reads journals of engines that do not run.

use std::{
    io::{BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use fulgurite_journal::{DumpOptions, Verdict, dump::DumpError, store::StoreError};

use super::{
    exit::{Exit, Fault},
    print_line, say,
};

/// What to do with a journal.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Reads all of it and checks every record. Exit code 0: clean, 1: damaged, 2: no journal.
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
        if let Verdict::Damaged { lsn, reason } = &report.verdict {
            object["damaged_lsn"] = lsn.to_string().into();
            object["reason"] = reason.to_string().into();
        }
        print_line(&object.to_string());
        return exit;
    }
    let folder = dir.display();
    match &report.verdict {
        Verdict::Clean => print_line(&format!(
            "{folder}: clean, {} events in {} records, {} starts",
            report.last_lsn, report.records, report.epochs
        )),
        Verdict::Damaged { lsn, reason } => {
            print_line(&format!("{folder}: damaged from event {lsn} on: {reason}"));
            say(&format!(
                "{} events before it are clean; keep the folder as it is and ask for help: an older \
                 copy knows less than the nodes do, and paying from it may pay twice",
                report.last_lsn
            ));
        }
        Verdict::NotAJournal => say(&format!("{folder}: not a journal")),
    }
    exit
}

fn dump(dir: &Path, options: &DumpOptions) -> Result<Exit, Fault> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let dumped = fulgurite_journal::dump(dir, options, &mut out)
        .and_then(|()| out.flush().map_err(DumpError::from));
    match dumped {
        Ok(()) => Ok(Exit::SUCCESS),
        Err(DumpError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::SUCCESS),
        Err(DumpError::Store(StoreError::NotAJournal(_))) => {
            Err(Fault::Usage(format!("{}: not a journal", dir.display())))
        }
        Err(error) => Err(Fault::Failed(format!("{}: {error}", dir.display()))),
    }
}
