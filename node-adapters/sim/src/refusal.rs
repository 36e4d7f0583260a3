//! What a node answers instead of doing what it was asked: a gRPC status with lnd's words.

use std::borrow::Cow;

/// gRPC's status numbers that lnd uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    Unimplemented = 12,
}

/// A gRPC status that is not OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status.
    pub code: Code,
    /// lnd's text.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// Most of lnd's errors are plain Go errors: status `Unknown`.
    pub fn unknown(message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code: Code::Unknown, message: message.into() }
    }

    /// A refusal with another status.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}
