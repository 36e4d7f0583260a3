//! How a command ends: the exit codes that scripts rely on.

use std::process::ExitCode;

/// What `--help` says about them.
pub const HELP: &str = "\
Exit codes:
    0  all succeeded
    1  the batch or payment is final, and some of it failed, was cancelled or refused
    2  the command line cannot be used, or a file cannot be opened
    3  refused, or the file has bad rows: nothing was accepted
    4  the engine was not reached or the outcome is unknown: run the same command again
    5  only payments that a person must resolve are left
   74  something of this machine failed, such as writing the results or standard output;
       it says nothing of payments, and what was accepted goes on
  130  interrupted; what was accepted goes on
`serve` has codes of its own: docs/configuration.md";

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// All went well; of a batch: every payment succeeded.
    pub const SUCCESS: Exit = Exit(0);
    /// The batch finished, and some of it failed, was cancelled or refused.
    pub const INCOMPLETE: Exit = Exit(1);
    /// The command line or a file cannot be used.
    pub const USAGE: Exit = Exit(2);
    /// The engine refused it; nothing was accepted.
    pub const REFUSED: Exit = Exit(3);
    /// The engine was not reached: the outcome is unknown, and running it again is safe.
    pub const UNREACHABLE: Exit = Exit(4);
    /// Only payments that a person must resolve are left.
    pub const UNRESOLVED: Exit = Exit(5);
    /// Interrupted; a batch that was accepted goes on.
    pub const INTERRUPTED: Exit = Exit(130);
    /// Actors died again and again.
    pub const SOFTWARE: Exit = Exit(70);
    /// Something of this machine failed, such as writing a file: it says nothing of payments.
    pub const LOCAL: Exit = Exit(74);
    /// The journal cannot be used.
    pub const JOURNAL: Exit = Exit(74);
    /// A newer copy of this engine runs.
    pub const FENCED: Exit = Exit(75);
    /// The configuration is wrong.
    pub const CONFIG: Exit = Exit(78);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The command line or a file cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The engine refused it, or the file cannot be accepted.
    #[error("{0}")]
    Refused(String),
    /// The engine was not reached.
    #[error("{0}")]
    Unreachable(String),
    /// Something of this machine failed.
    #[error("{0}")]
    Failed(String),
}

impl Fault {
    /// The same after `what` was accepted: a refusal must not read as "nothing was accepted".
    pub fn after_acceptance(self, what: &str) -> Fault {
        match self {
            Fault::Refused(text) => Fault::Unreachable(format!(
                "{what} was accepted, but now the engine says: {text}; run the same command again"
            )),
            other => other,
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Fault::Usage(_) => Exit::USAGE,
            Fault::Refused(_) => Exit::REFUSED,
            Fault::Unreachable(_) => Exit::UNREACHABLE,
            Fault::Failed(_) => Exit::LOCAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_is_never_called_refused() {
        let fault = Fault::Refused("BATCH_NOT_FOUND: there is no batch".into());
        assert_eq!(fault.exit(), Exit::REFUSED);
        assert_eq!(fault.after_acceptance("bat_1").exit(), Exit::UNREACHABLE);
    }

    #[test]
    fn a_fault_of_this_machine_says_nothing_of_payments() {
        let exit = Fault::Failed("results.csv: no space left".into()).exit();
        assert!(![Exit::SUCCESS, Exit::INCOMPLETE, Exit::REFUSED].contains(&exit));
    }
}
