//! How a command ends: the exit codes that scripts rely on.

use std::{fmt, process::ExitCode};

use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt;

use crate::problem::{Code, Retry};

/// What `--help` says about them.
pub const HELP: &str = "\
Exit codes:
    0  all succeeded; with --no-wait, and without --wait: all was accepted
    1  the batch or payment is final, and some of it failed, was cancelled or
       refused
    2  the command line cannot be used, or a file cannot be opened
    3  refused, or the file has bad rows: nothing was accepted
    4  the engine was not reached or the outcome is unknown: run the same
       command again
    5  only payments that a person must resolve are left
   74  something of this machine failed, such as writing the results or standard
       output; it says nothing of payments, and what was accepted goes on
  130  interrupted; what was accepted goes on
`config check` has 78, `journal verify` 0, 1, 2 and `serve` codes of its own:
docs/cli.md";

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
    /// It was refused before the engine was asked: a file that holds no orders.
    #[error("{0}")]
    Refused(String),
    /// The engine refused it.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// The engine was not reached.
    #[error("{0}")]
    Unreachable(String),
    /// Something of this machine failed.
    #[error("{0}")]
    Failed(String),
}

/// What the engine said when it refused.
#[derive(Clone, Debug, Default)]
pub struct Denial {
    /// The stable code, such as `BATCH_NOT_FOUND`; empty when it was not the engine that answered.
    pub code: String,
    /// The same for a person.
    pub detail: String,
    /// Facts for a program.
    pub metadata: Vec<(String, String)>,
    /// The fields that are wrong, and what is wrong with them.
    pub fields: Vec<(String, String)>,
    /// The engine's name for the request; empty without one.
    pub request_id: String,
}

impl Denial {
    /// What a status says.
    pub fn of(status: &Status) -> Denial {
        let details = status.get_error_details();
        let info = details.error_info();
        let mut metadata: Vec<(String, String)> =
            info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default();
        metadata.sort_unstable();
        let fields = details.bad_request().map(|bad| bad.field_violations.as_slice());
        let fields = fields.unwrap_or_default().iter();
        Denial {
            code: info.map(|info| info.reason.clone()).unwrap_or_default(),
            detail: status.message().to_owned(),
            metadata,
            fields: fields.map(|bad| (bad.field.clone(), bad.description.clone())).collect(),
            request_id: details.request_info().map(|i| i.request_id.clone()).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.code.is_empty() {
            write!(f, "{}: ", self.code)?;
        }
        write!(f, "{}", self.detail)?;
        for (key, what) in [("batch_id", "batch"), ("payment_id", "payment")] {
            if let Some((_, id)) = self.metadata.iter().find(|(name, _)| name == key) {
                write!(f, " ({what} {id})")?;
            }
        }
        // The first one is the detail.
        for (field, message) in self.fields.iter().skip(1) {
            write!(f, "; {field} {message}")?;
        }
        Ok(())
    }
}

impl Fault {
    /// The same after `what` was accepted: a refusal must not read as "nothing was accepted".
    /// `again` is the command that shows what became of it.
    pub fn after_acceptance(self, what: &str, again: &str) -> Fault {
        let now = match self {
            Fault::Usage(_) | Fault::Failed(_) => return self,
            Fault::Refused(text) => format!("now the engine says: {text}"),
            Fault::Denied(denial) => format!("now the engine says: {denial}"),
            Fault::Unreachable(text) => text,
        };
        Fault::Unreachable(format!("{what} was accepted and goes on, but {now}\n  {again}"))
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Fault::Usage(_) => Exit::USAGE,
            Fault::Refused(_) | Fault::Denied(_) => Exit::REFUSED,
            Fault::Unreachable(_) => Exit::UNREACHABLE,
            Fault::Failed(_) => Exit::LOCAL,
        }
    }

    /// The problem object that `--json` prints (RFC 9457, as the HTTP API answers), with the exit
    /// code.
    pub fn to_json(&self) -> Value {
        let (code, title) = match self {
            Fault::Denied(denial) => return self.denied_json(denial),
            Fault::Usage(_) => ("USAGE", "the command line or a file cannot be used"),
            Fault::Refused(_) => ("FILE_REFUSED", "the file cannot be used; nothing was sent"),
            Fault::Unreachable(_) => ("ENGINE_UNREACHABLE", "the engine was not reached"),
            Fault::Failed(_) => ("LOCAL_FAILURE", "something of this machine failed"),
        };
        problem_json(code, title, (&self.to_string(), self.exit()))
    }

    fn denied_json(&self, denial: &Denial) -> Value {
        let known = Code::named(&denial.code);
        let title = known.map_or("the engine refused it", Code::title);
        let mut value = problem_json(&denial.code, title, (&denial.detail, self.exit()));
        if let Some(code) = known {
            value["type"] = format!("/errors/{}", code.name()).into();
            value["status"] = code.http().into();
            value["retry"] = (code.retry() != Retry::No).into();
        }
        if !denial.request_id.is_empty() {
            value["request_id"] = denial.request_id.as_str().into();
        }
        for (key, text) in &denial.metadata {
            value[key] = text.as_str().into();
        }
        if !denial.fields.is_empty() {
            let fields = denial.fields.iter();
            value["errors"] =
                fields.map(|(field, text)| json!({ "field": field, "detail": text })).collect();
        }
        value
    }
}

/// A problem object of the command line itself.
pub fn problem_json(code: &str, title: &str, (detail, exit): (&str, Exit)) -> Value {
    json!({
        "type": "about:blank",
        "title": title,
        "detail": detail,
        "code": code,
        "retry": false,
        "exit_code": exit.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_is_never_called_refused() {
        let fault = Fault::Refused("BATCH_NOT_FOUND: there is no batch".into());
        assert_eq!(fault.exit(), Exit::REFUSED);
        let fault = fault.after_acceptance("bat_1", "fulgurite batch watch bat_1");
        assert_eq!(fault.exit(), Exit::UNREACHABLE);
        assert!(fault.to_string().contains("was accepted"), "{fault}");
    }

    #[test]
    fn a_fault_of_this_machine_says_nothing_of_payments() {
        let exit = Fault::Failed("results.csv: no space left".into()).exit();
        assert!(![Exit::SUCCESS, Exit::INCOMPLETE, Exit::REFUSED].contains(&exit));
    }

    #[test]
    fn a_refusal_is_the_problem_object_of_the_http_api() {
        let status = crate::problem::invalid("options.in_flight_max", "must be 1").into_status();
        let fault = Fault::Denied(Box::new(Denial::of(&status)));
        let value = fault.to_json();
        assert_eq!(value["type"], "/errors/INVALID_FIELD");
        assert_eq!((&value["status"], &value["exit_code"]), (&json!(400), &json!(3)));
        assert_eq!(value["errors"][0]["field"], "options.in_flight_max");
        let usage = Fault::Usage("no file".into()).to_json();
        assert_eq!((&usage["code"], &usage["exit_code"]), (&json!("USAGE"), &json!(2)));
    }
}
