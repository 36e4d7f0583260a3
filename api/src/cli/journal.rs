//! `journal`: reads journals of engines that do not run.

use std::{
    io::{BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use fulgurite_journal::{DumpOptions, Verdict, dump::DumpError, store::StoreError};

use super::{
    exit::{Exit, Fault},
    print_line,
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
pub fn run(command: JournalCommand) -> Result<Exit, Fault> {
    match command {
        JournalCommand::Verify { dir } => Ok(verify(&dir)),
        JournalCommand::Dump { dir, from, to, with_content } => {
            dump(&dir, &DumpOptions { lsns: from..=to, with_content })
        }
    }
}

fn verify(dir: &Path) -> Exit {
    let report = fulgurite_journal::verify(dir);
    let folder = dir.display();
    match report.verdict {
        Verdict::Clean => {
            print_line(&format!(
                "{folder}: clean, {} events in {} records, {} starts",
                report.last_lsn, report.records, report.epochs
            ));
            Exit::SUCCESS
        }
        Verdict::Damaged { lsn, reason } => {
            print_line(&format!("{folder}: damaged from event {lsn} on: {reason}"));
            eprintln!(
                "{} events before it are clean; keep the folder as it is and ask for help: an older \
                 copy knows less than the nodes do, and paying from it may pay twice",
                report.last_lsn
            );
            Exit::INCOMPLETE
        }
        Verdict::NotAJournal => {
            eprintln!("{folder}: not a journal");
            Exit::USAGE
        }
    }
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
