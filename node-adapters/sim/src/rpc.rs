//! Every call: the door, the message, the answer. Payments are here, the rest in [`crate::calls`].

use std::rc::Rc;

use bytes::BytesMut;
use fulgurite_proto::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::auth::Method;
use crate::calls;
use crate::decide::Cut;
use crate::feed::Feed;
use crate::invoices::bytes32;
use crate::node::{Node, NodeCell};
use crate::payment::Status;
use crate::refusal::{Code, Refusal};
use crate::wire::{Reply, Reset, answer, deadline, live, read, refuse};

/// Why a call has no answer: a status, or (`None`) a stream that just ends.
pub(crate) type CallError = Option<Refusal>;

/// A call that passed the door.
pub(crate) struct Call {
    /// Who was called.
    pub node: NodeCell,
    /// The message, still to be read.
    pub body: Incoming,
    /// When the stream ends whatever happens.
    pub deadline: Option<Instant>,
}

/// Answers one request. The macaroon is checked before the first `await`: when HEADERS arrive.
pub(crate) async fn serve(
    node: NodeCell,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Reset> {
    let deadline = deadline(request.headers());
    let method = match enter(&node, &request) {
        Ok(method) => method,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    let call = Call { node, body: request.into_body(), deadline };
    let answer = match method {
        Method::SendPaymentV2 => send_payment(call).await,
        Method::TrackPaymentV2 => track_payment(call).await,
        other => calls::answer(other, call).await,
    };
    match answer {
        Ok(response) => Ok(response),
        Err(Some(refusal)) => Ok(refuse(&refusal)),
        Err(None) => Err(Reset),
    }
}

fn enter(node: &NodeCell, request: &Request<Incoming>) -> Result<Method, Refusal> {
    let path = request.uri().path();
    let method = Method::at(path)
        .ok_or_else(|| Refusal::new(Code::Unimplemented, format!("unknown method {path}")))?;
    let header = request.headers().get("macaroon").map(|value| value.as_bytes());
    let mut node = node.borrow_mut();
    let now_ns = node.now_ns();
    node.guard.check(method, header, now_ns)?;
    Ok(method)
}

/// A node that was killed while the call waited for its message.
pub(crate) fn alive(node: &Node) -> Result<(), CallError> {
    if node.alive { Ok(()) } else { Err(None) }
}

async fn send_payment(call: Call) -> Result<Response<Reply>, CallError> {
    let Call { node: cell, body, deadline } = call;
    let request: SendPaymentRequest = read(body, deadline).await?;
    let mut node = cell.borrow_mut();
    alive(&node)?;
    if node.drops(&request.payment_request) {
        return Err(None);
    }
    let (slot, cut) = node.send(&request).map_err(Some)?;
    if cut == Cut::Silent {
        return Err(None);
    }
    let invoice = request.payment_request.as_bytes();
    let status = node.payments.get(slot).status;
    let (first, is_final) = match status {
        Status::Initiated | Status::InFlight => (status, false),
        Status::Succeeded => (Status::InFlight, true),
        Status::Failed => (Status::Initiated, true),
    };
    if is_final && cut == Cut::Never {
        // Everything is known already: both messages leave as one frame.
        let mut out = BytesMut::with_capacity(2_048);
        if !request.no_inflight_updates {
            node.write_with(&mut out, (slot, first), invoice);
        }
        node.write_with(&mut out, (slot, status), invoice);
        return Ok(answer(Reply::Whole(out.freeze())));
    }
    let feed = Feed::new(request.no_inflight_updates, cut);
    feed.send(false, |out| node.write_with(out, (slot, first), invoice));
    if is_final {
        feed.send(true, |out| node.write_with(out, (slot, status), invoice));
    } else {
        node.follow(slot, Rc::clone(&feed));
    }
    Ok(live(feed, deadline))
}

async fn track_payment(call: Call) -> Result<Response<Reply>, CallError> {
    let Call { node: cell, body, deadline } = call;
    let request: TrackPaymentRequest = read(body, deadline).await?;
    let mut node = cell.borrow_mut();
    alive(&node)?;
    let payment_hash = bytes32(&request.payment_hash).map_err(Some)?;
    let Some(slot) = node.payments.find(&payment_hash) else {
        return Err(Some(Refusal::new(Code::NotFound, "payment isn't initiated")));
    };
    let status = node.payments.get(slot).status;
    let feed = Feed::new(request.no_inflight_updates, Cut::Never);
    let is_final = matches!(status, Status::Succeeded | Status::Failed);
    feed.send(is_final, |out| node.write(out, slot, status));
    if !is_final {
        node.follow(slot, Rc::clone(&feed));
    }
    Ok(live(feed, deadline))
}
