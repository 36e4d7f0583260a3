//! Bounds the calls of all connections, and dresses what tonic refuses by itself.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state, map_request},
    response::Response,
};
use fulgurite_proto::strict::FIELD_KEY;
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{Code as Grpc, Status};

use crate::{
    connections::body,
    problem::{Code, Problem, Violation},
};

/// The method whose clients stream for long; it has times of its own. Reflection streams, too, but
/// for a few questions: one that stayed open would keep the place of a payment.
const STREAM: &str = "/UploadBatch";
const STATUS: &str = "grpc-status";
const DETAILS: &str = "grpc-status-details-bin";
const ENCODINGS: &str = "grpc-accept-encoding";
/// Longer than any call waits.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// At most `calls_max` calls at once; more are refused at once.
pub fn bounded(routes: Router, calls_max: u32) -> Router {
    let places = usize::try_from(calls_max).unwrap_or(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    routes.layer(from_fn_with_state(places, pass))
}

/// A request that is not streamed must be whole within `time_max`.
pub fn whole(routes: Router, time_max: Duration) -> Router {
    routes.layer(map_request(move |request: Request| async move {
        let path = request.uri().path();
        if path.ends_with(STREAM) {
            return request;
        }
        request.map(|whole| body::bounded(whole, time_max))
    }))
}

async fn pass(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(place) = places.try_acquire_owned() else {
        return Problem::new(Code::Overloaded).into_status().into_http();
    };
    let Ok(response) = timeout(time_left(request.headers()), next.run(request)).await else {
        return Problem::new(Code::DeadlineExceeded).into_status().into_http();
    };
    // A stream is a call until its end.
    dress(response).map(|body| Body::new(Held { body, _place: place }))
}

/// How long the client waits for the beginning of an answer; a little less, because tonic counts
/// the same and would answer without details.
fn time_left(headers: &HeaderMap) -> Duration {
    let text = headers.get("grpc-timeout").and_then(|value| value.to_str().ok());
    let (digits, unit) =
        match text.and_then(|text| text.split_at_checked(text.len().saturating_sub(1))) {
            Some(split) => split,
            None => return FOR_EVER,
        };
    let nanoseconds: u64 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return FOR_EVER,
    };
    match digits.parse::<u64>() {
        Ok(number) => {
            let left = Duration::from_nanos(number.saturating_mul(nanoseconds));
            left.saturating_sub(Duration::from_millis(2)).min(FOR_EVER)
        }
        // Tonic takes no notice of what it cannot read.
        Err(_) => FOR_EVER,
    }
}

/// Gives a status that tonic made by itself the details that all of ours have.
fn dress(response: Response) -> Response {
    let headers = response.headers();
    if !headers.contains_key(STATUS) || headers.contains_key(DETAILS) {
        return response;
    }
    let Some(problem) = Status::from_header_map(headers).and_then(|status| problem_of(&status))
    else {
        return response;
    };
    let accepted = headers.get(ENCODINGS).cloned();
    let mut dressed: Response = problem.into_status().into_http();
    if let Some(accepted) = accepted {
        dressed.headers_mut().insert(ENCODINGS, accepted);
    }
    dressed
}

/// The problem that a status of tonic's stands for; `None` when it is the client's own wish.
pub fn problem_of(status: &Status) -> Option<Problem> {
    let text = status.message();
    let code = match status.code() {
        Grpc::Ok | Grpc::Cancelled | Grpc::DeadlineExceeded => return None,
        // "Error, decoded message length too large"
        Grpc::OutOfRange | Grpc::ResourceExhausted => Code::MessageTooLarge,
        Grpc::Unimplemented => Code::Unimplemented,
        // The health service, about a service that there is not.
        Grpc::NotFound => Code::RouteNotFound,
        // What cannot be decoded, or is no message at all.
        Grpc::Internal | Grpc::InvalidArgument => Code::InvalidField,
        _ => return Some(Problem::new(Code::Internal)),
    };
    let field = status.metadata().get(FIELD_KEY).and_then(|field| field.to_str().ok());
    if let (Code::InvalidField, Some(field)) = (code, field) {
        return Some(unknown_field(field, text));
    }
    let detail = if text.is_empty() { code.title() } else { text };
    Some(Problem::of(code, detail))
}

fn unknown_field(field: &str, text: &str) -> Problem {
    let violation = Violation { field: field.to_owned(), message: text.to_owned() };
    Problem { violations: vec![violation], ..Problem::of(Code::InvalidField, text) }
}

/// A body that holds its call's place until it is dropped.
struct Held {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    #[rustfmt::skip] // A table: one line is one refusal of tonic's and what it becomes.
    fn what_tonic_refuses_is_dressed_like_our_own() {
        for (plain, grpc, reason) in [
            (Status::out_of_range("too large"),       Grpc::InvalidArgument, "MESSAGE_TOO_LARGE"),
            (Status::unimplemented(""),               Grpc::Unimplemented,   "UNIMPLEMENTED"),
            (Status::not_found("no such service"),    Grpc::NotFound,        "ROUTE_NOT_FOUND"),
            (Status::internal("Missing request"),     Grpc::InvalidArgument, "INVALID_FIELD"),
            (Status::invalid_argument("cannot read"), Grpc::InvalidArgument, "INVALID_FIELD"),
            (Status::unknown("a defect"),             Grpc::Internal,        "INTERNAL"),
        ] {
            let dressed = dress(plain.into_http());
            let dressed = Status::from_header_map(dressed.headers()).expect("a status");
            assert_eq!(dressed.code(), grpc, "{reason}");
            let info = dressed.get_details_error_info().expect("an ErrorInfo");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "fulgurite"));
            assert!(dressed.get_details_request_info().is_some(), "{reason}");
        }
    }

    #[test]
    fn what_a_client_itself_ends_is_left_alone() {
        for plain in [Status::cancelled("gone"), Status::deadline_exceeded("late")] {
            let left = dress(plain.clone().into_http());
            let left = Status::from_header_map(left.headers()).expect("a status");
            assert_eq!((left.code(), left.details()), (plain.code(), &[][..]));
        }
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one header and the time that it gives.
    fn a_call_has_the_time_that_its_client_gives_it() {
        for (header, left) in [
            ("1H",  Duration::from_millis(3_599_998)), ("2S",  Duration::from_millis(1_998)),
            ("50m", Duration::from_millis(48)),        ("1u",  Duration::ZERO),
            ("",    FOR_EVER),                         ("5",   FOR_EVER),
            ("1x",  FOR_EVER),                         ("-1S", FOR_EVER),
            ("99999999999999999H", FOR_EVER),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", header.parse().expect("a header"));
            assert_eq!(time_left(&headers), left, "{header}");
        }
    }

    #[test]
    fn our_own_statuses_pass_as_they_are() {
        let ours: Response = Problem::new(Code::Starting).into_status().into_http();
        let status = Status::from_header_map(dress(ours).headers()).expect("a status");
        assert_eq!(status.code(), Grpc::Unavailable);
    }
}
