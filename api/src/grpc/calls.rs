//! Bounds the calls of all connections, and dresses what tonic refuses by itself.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code as Grpc, Status};

use crate::problem::{Code, Problem};

const STATUS: &str = "grpc-status";
const DETAILS: &str = "grpc-status-details-bin";

/// At most `calls_max` calls at once; more are refused at once.
pub fn bounded(routes: Router, calls_max: u32) -> Router {
    let places = usize::try_from(calls_max).unwrap_or(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    routes.layer(from_fn_with_state(places, pass))
}

async fn pass(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(place) = places.try_acquire_owned() else {
        return Problem::new(Code::Overloaded).into_status().into_http();
    };
    let response = dress(next.run(request).await);
    // A stream is a call until its end.
    response.map(|body| Body::new(Held { body, _place: place }))
}

/// Gives a status that tonic made by itself the details that all of ours have.
fn dress(response: Response) -> Response {
    let headers = response.headers();
    if !headers.contains_key(STATUS) || headers.contains_key(DETAILS) {
        return response;
    }
    match Status::from_header_map(headers).and_then(|status| problem_of(&status)) {
        Some(problem) => problem.into_status().into_http(),
        None => response,
    }
}

/// The problem that a status of tonic's stands for; `None` when it is the client's own wish.
pub fn problem_of(status: &Status) -> Option<Problem> {
    let text = status.message();
    let code = match status.code() {
        Grpc::Ok | Grpc::Cancelled | Grpc::DeadlineExceeded => return None,
        // "Error, decoded message length too large"
        Grpc::OutOfRange | Grpc::ResourceExhausted => Code::MessageTooLarge,
        Grpc::Unimplemented => Code::Unimplemented,
        // What prost cannot decode.
        Grpc::Internal | Grpc::InvalidArgument => Code::InvalidField,
        _ => return Some(Problem::new(Code::Internal)),
    };
    let detail = if text.is_empty() { code.title() } else { text };
    Some(Problem::of(code, detail))
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
    fn what_tonic_refuses_is_dressed_like_our_own() {
        let plain: Response = Status::out_of_range("decoded message length too large").into_http();
        let dressed = Status::from_header_map(dress(plain).headers()).expect("a status");
        assert_eq!(dressed.code(), Grpc::InvalidArgument);
        let info = dressed.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.reason, "MESSAGE_TOO_LARGE");
    }

    #[test]
    fn our_own_statuses_pass_as_they_are() {
        let ours: Response = Problem::new(Code::Starting).into_status().into_http();
        let status = Status::from_header_map(dress(ours).headers()).expect("a status");
        assert_eq!(status.code(), Grpc::Unavailable);
    }
}
