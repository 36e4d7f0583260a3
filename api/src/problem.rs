//! The only place where refusals become status codes, for both doors.
//!
//! A code is stable: it never changes its meaning, its gRPC code, its HTTP status or whether a
//! retry helps. More can be added.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use fulgurite_core::{
    batch,
    order::{RefusedRow, RowReason},
    payment,
};
use fulgurite_runtime::{
    engine::{PaymentRefused, Requested},
    operator::ResolveRefused,
    upload::Busy,
};
use tonic::{Code as Grpc, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{check::Unchecked, cursor, wire::batch::reason_name};

/// `ErrorInfo.domain` of every problem.
pub const DOMAIN: &str = "fulgurite";
/// Longer texts are cut: gRPC peers cut trailers at 8 KiB.
const DETAIL_BYTES_MAX: usize = 500;
const VIOLATIONS_MAX: usize = 5;

/// Whether sending the same again helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No: something must change first.
    No,
    /// Yes, after some milliseconds.
    After(u64),
    /// Yes, with the same idempotency key.
    SameKey,
}

macro_rules! codes {
    ($($name:ident $text:literal $grpc:ident $status:literal $retry:expr, $title:literal;)*) => {
        /// A stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// Its line in the table: name, gRPC code, HTTP status, retry, meaning.
            pub const fn line(self) -> (&'static str, Grpc, u16, Retry, &'static str) {
                match self {
                    $(Code::$name => ($text, Grpc::$grpc, $status, $retry, $title),)*
                }
            }
        }
    };
}

// A macro against the style guide, so that the table is one table: one line is one code.
#[rustfmt::skip]
codes! {
    InvalidField "INVALID_FIELD" InvalidArgument 400 Retry::No, "a field is wrong, missing or not supported";
    RowsRefused "ROWS_REFUSED" InvalidArgument 422 Retry::No, "rows are bad and nothing was accepted: correct them and send all again with the same key";
    OrderRefused "ORDER_REFUSED" InvalidArgument 422 Retry::No, "the order is bad and was not accepted";
    IdempotencyKeyMissing "IDEMPOTENCY_KEY_MISSING" InvalidArgument 400 Retry::No, "an idempotency key is required: 1 to 255 visible ASCII characters";
    BatchTooLarge "BATCH_TOO_LARGE" InvalidArgument 413 Retry::No, "the batch has too many orders: split it";
    MessageTooLarge "MESSAGE_TOO_LARGE" InvalidArgument 413 Retry::No, "the message is too large: send less at once";
    PageTokenMismatch "PAGE_TOKEN_MISMATCH" InvalidArgument 400 Retry::No, "the page token is not of this request: start from the first page";
    CursorInvalid "CURSOR_INVALID" InvalidArgument 400 Retry::No, "the cursor is not of this batch and filter: start without one";
    BatchNotFound "BATCH_NOT_FOUND" NotFound 404 Retry::No, "there is no such batch";
    PaymentNotFound "PAYMENT_NOT_FOUND" NotFound 404 Retry::No, "there is no such payment";
    IdempotencyKeyReused "IDEMPOTENCY_KEY_REUSED" AlreadyExists 422 Retry::No, "the key belongs to other content: a new order needs a new key";
    HashClaimed "HASH_CLAIMED" AlreadyExists 409 Retry::No, "another payment owns the same payment hash: it is open, or a person resolved it";
    AlreadyPaid "ALREADY_PAID" AlreadyExists 409 Retry::No, "the same payment hash has been paid";
    BatchFinished "BATCH_FINISHED" FailedPrecondition 409 Retry::No, "the batch is finished";
    BatchCancelling "BATCH_CANCELLING" FailedPrecondition 409 Retry::No, "the batch is being cancelled";
    PaymentFinished "PAYMENT_FINISHED" FailedPrecondition 409 Retry::No, "the payment is final";
    PaymentInFlight "PAYMENT_IN_FLIGHT" FailedPrecondition 409 Retry::No, "an attempt is under way and cannot be taken back";
    PaymentNotUnresolved "PAYMENT_NOT_UNRESOLVED" FailedPrecondition 409 Retry::No, "the payment is not unresolved: it ends by itself";
    PreimageWrong "PREIMAGE_WRONG" InvalidArgument 422 Retry::No, "the preimage is not the one of this payment: nothing was decided";
    PaymentMayLive "PAYMENT_MAY_LIVE" FailedPrecondition 409 Retry::No, "an HTLC of the payment may live: it may still be paid";
    NodeNotFound "NODE_NOT_FOUND" NotFound 404 Retry::No, "there is no such node";
    PaidAtNode "PAID_AT_NODE" FailedPrecondition 409 Retry::No, "the node says that the payment is paid";
    NodeAway "NODE_AWAY" FailedPrecondition 409 Retry::No, "the node cannot be asked now";
    NodeAnswers "NODE_ANSWERS" FailedPrecondition 409 Retry::No, "the node answers: it is not lost";
    ConfirmationRequired "CONFIRMATION_REQUIRED" FailedPrecondition 409 Retry::No, "the decision is for ever: say it once more with the confirmation";
    UploadIncomplete "UPLOAD_INCOMPLETE" Aborted 409 Retry::SameKey, "the upload ended before its commit or has a gap; nothing was accepted: send all again with the same key";
    UploadTimeout "UPLOAD_TIMEOUT" Aborted 408 Retry::SameKey, "the upload took too long; nothing was accepted: send all again with the same key";
    Overloaded "OVERLOADED" ResourceExhausted 429 Retry::After(1_000), "too much waits: try again";
    TooManyOpen "TOO_MANY_OPEN" ResourceExhausted 429 Retry::After(10_000), "too many payments are open: try again when some are final";
    CursorExpired "CURSOR_EXPIRED" OutOfRange 410 Retry::No, "the cursor is too old: start without one";
    Internal "INTERNAL" Internal 500 Retry::SameKey, "something went wrong in the engine: repeat with the same key";
    Starting "STARTING" Unavailable 503 Retry::After(2_000), "the engine is starting";
    Stopping "STOPPING" Unavailable 503 Retry::After(5_000), "the engine is stopping";
    DiskLow "DISK_LOW" Unavailable 503 Retry::After(30_000), "the journal's disk is nearly full: free space on it";
    StreamRecycled "STREAM_RECYCLED" Unavailable 503 Retry::After(100), "the stream was ended to balance load: watch again from the last cursor";
    UnknownOutcome "UNKNOWN_OUTCOME" Unavailable 503 Retry::After(1_000), "it may or may not have been accepted: repeat with the same key";
    DeadlineExceeded "DEADLINE_EXCEEDED" DeadlineExceeded 504 Retry::SameKey, "the time that the client gave the call is over: an order may have been accepted, repeat with the same key";
    Unimplemented "UNIMPLEMENTED" Unimplemented 501 Retry::No, "this engine does not know the method";
    RouteNotFound "ROUTE_NOT_FOUND" NotFound 404 Retry::No, "there is nothing at this path";
    MethodNotAllowed "METHOD_NOT_ALLOWED" Unimplemented 405 Retry::No, "the path does not take this method";
    MediaTypeUnsupported "MEDIA_TYPE_UNSUPPORTED" InvalidArgument 415 Retry::No, "the body must be application/json";
    NotLocal "NOT_LOCAL" PermissionDenied 403 Retry::No, "without authentication only programs on this machine are served, not web pages";
}

impl Code {
    /// The stable name, such as `HASH_CLAIMED`.
    pub const fn name(self) -> &'static str {
        self.line().0
    }

    /// The gRPC status code.
    pub const fn grpc(self) -> Grpc {
        self.line().1
    }

    /// The HTTP status.
    pub const fn http(self) -> u16 {
        self.line().2
    }

    /// Whether sending the same again helps.
    pub const fn retry(self) -> Retry {
        self.line().3
    }

    /// What it means, for a person.
    pub const fn title(self) -> &'static str {
        self.line().4
    }

    /// The code with this name.
    pub fn named(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.name() == name)
    }
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, with dots between its parts, such as `options.in_flight_max`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A refusal on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What happened, for a person.
    pub detail: String,
    /// Facts for a program.
    pub metadata: Vec<(&'static str, String)>,
    /// The fields that are wrong.
    pub violations: Vec<Violation>,
}

impl Problem {
    /// A problem that its code says all about.
    pub fn new(code: Code) -> Problem {
        Problem::of(code, code.title())
    }

    /// A problem in words of its own.
    pub fn of(code: Code, detail: impl Into<String>) -> Problem {
        let mut detail = detail.into();
        cut(&mut detail, DETAIL_BYTES_MAX);
        Problem { code, detail, metadata: Vec::new(), violations: Vec::new() }
    }

    /// Adds a fact for a program.
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Problem {
        let mut value = value.into();
        cut(&mut value, DETAIL_BYTES_MAX);
        self.metadata.push((key, value));
        self
    }

    /// The gRPC status, with details of at most 4 KiB.
    pub fn into_status(self) -> Status {
        let request_id = request_id();
        tracing::debug!(%request_id, code = self.code.name(), detail = %self.detail, "refused");
        let metadata: HashMap<String, String> =
            self.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(self.code.name(), DOMAIN, metadata);
        details.set_request_info(request_id, "");
        if let Retry::After(ms) = self.code.retry() {
            details.set_retry_info(Some(Duration::from_millis(ms)));
        }
        if !self.violations.is_empty() {
            let violations = self.violations.into_iter().map(|violation| FieldViolation {
                field: violation.field,
                description: violation.message,
                ..Default::default()
            });
            details.set_bad_request(violations.collect::<Vec<_>>());
        }
        Status::with_error_details(self.code.grpc(), self.detail, details)
    }
}

/// A new name for a request that was refused, to find it in the log.
pub fn request_id() -> String {
    format!("req_{}", uuid::Uuid::now_v7().simple())
}

/// A problem with one field.
pub fn invalid(field: &str, message: &str) -> Problem {
    invalid_all(vec![Violation { field: field.to_owned(), message: message.to_owned() }])
}

/// A problem with several fields; at least one.
pub fn invalid_all(mut violations: Vec<Violation>) -> Problem {
    violations.truncate(VIOLATIONS_MAX);
    for violation in &mut violations {
        cut(&mut violation.field, DETAIL_BYTES_MAX / 4);
        cut(&mut violation.message, DETAIL_BYTES_MAX / 2);
    }
    let first = violations.first();
    let detail = first.map(|first| match first.field.as_str() {
        // Only a body has no name.
        "" => format!("the body {}", first.message),
        field => format!("{field} {}", first.message),
    });
    let problem = Problem::of(Code::InvalidField, detail.unwrap_or_default());
    Problem { violations, ..problem }
}

/// A single order that was refused: its first problem says why.
pub fn order_refused(rows: &[RefusedRow]) -> Problem {
    let Some(first) = rows.first() else {
        return Problem::new(Code::OrderRefused);
    };
    let code = match first.reason {
        RowReason::HashClaimed => Code::HashClaimed,
        RowReason::AlreadyPaid => Code::AlreadyPaid,
        _ => Code::OrderRefused,
    };
    let mut problem = Problem::of(code, &*first.message);
    if let Some(payment) = first.payment {
        problem = problem.with("payment_id", payment.to_string());
    }
    if code == Code::OrderRefused {
        problem = problem.with("row_reason", reason_name(first)).with("field", first.field);
        problem.violations = rows
            .iter()
            .take(VIOLATIONS_MAX)
            .map(|row| Violation { field: row.field.into(), message: row.message.to_string() })
            .collect();
    }
    problem
}

fn cut(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

impl From<Busy> for Problem {
    fn from(busy: Busy) -> Problem {
        let code = match busy {
            Busy::Overloaded => Code::Overloaded,
            Busy::TooManyOpen => Code::TooManyOpen,
            Busy::DiskLow => Code::DiskLow,
            Busy::Starting => Code::Starting,
            Busy::Stopping => Code::Stopping,
            Busy::UnknownOutcome => Code::UnknownOutcome,
        };
        Problem::of(code, busy.to_string())
    }
}

impl From<Unchecked> for Problem {
    fn from(unchecked: Unchecked) -> Problem {
        let code = match unchecked {
            Unchecked::Overloaded => Code::Overloaded,
            Unchecked::Failed | Unchecked::Ended => Code::Internal,
        };
        Problem::of(code, unchecked.to_string())
    }
}

impl From<PaymentRefused> for Problem {
    fn from(refused: PaymentRefused) -> Problem {
        use payment::Refusal;
        let code = match refused {
            PaymentRefused::Refused(Refusal::AlreadyFinal) => Code::PaymentFinished,
            // What is unresolved may be paid: it is under way for all that anybody knows.
            PaymentRefused::Refused(Refusal::InFlight | Refusal::Unresolved) => {
                Code::PaymentInFlight
            }
            PaymentRefused::Refused(Refusal::NotUnresolved) => Code::PaymentNotUnresolved,
            PaymentRefused::Refused(Refusal::WrongPreimage) => Code::PreimageWrong,
            PaymentRefused::Refused(Refusal::Changed) => {
                let detail = format!("{}: look at it, then ask again", Refusal::Changed);
                return Problem::of(Code::PaymentMayLive, detail);
            }
            // Nobody outside can ask for what else is refused.
            PaymentRefused::Refused(_) => Code::Internal,
            PaymentRefused::Busy(busy) => return busy.into(),
        };
        Problem::new(code)
    }
}

impl From<ResolveRefused> for Problem {
    fn from(refused: ResolveRefused) -> Problem {
        let code = match refused {
            ResolveRefused::Payment(refused) => return refused.into(),
            ResolveRefused::MayLive(_) | ResolveRefused::Quiet(_) => Code::PaymentMayLive,
            ResolveRefused::PaidAtNode(_) => Code::PaidAtNode,
            ResolveRefused::NodeAway(_) | ResolveRefused::NotBelieved(_) => Code::NodeAway,
            ResolveRefused::NodeAnswers(_) => Code::NodeAnswers,
            ResolveRefused::Unconfirmed(_) => Code::ConfirmationRequired,
        };
        Problem::of(code, refused.to_string())
    }
}

impl From<Requested> for Problem {
    fn from(requested: Requested) -> Problem {
        match requested {
            Requested::Refused(batch::Refusal::Finished) => Problem::new(Code::BatchFinished),
            Requested::Refused(batch::Refusal::Cancelling) => Problem::new(Code::BatchCancelling),
            // The callers answer with the batch as it is; this is for completeness.
            Requested::Refused(batch::Refusal::AlreadySo) => Problem::new(Code::Internal),
            Requested::Busy(busy) => busy.into(),
        }
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Status {
        problem.into_status()
    }
}

/// A refused page token.
pub fn page_token(refusal: cursor::Refusal) -> Problem {
    Problem::of(Code::PageTokenMismatch, refusal.to_string())
}

/// A refused watch cursor.
pub fn watch_cursor(refusal: cursor::Refusal) -> Problem {
    Problem::of(Code::CursorInvalid, refusal.to_string())
}
