//! Requests that arrive late, as in the two scenarios that were shown on real lnd: a middlebox
//! holds a whole request, or lets HEADERS through and holds DATA.
#![allow(clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use fulgurite_sim::{Invoice, Knobs, NodeInfo, add_caveat};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use support::{fleet, invoices, pay, router, track};
use tokio::sync::oneshot;

const SEND: &str = "http://localhost/routerrpc.Router/SendPaymentV2";
const NOT_FOUND: &str = "NotFound: payment isn't initiated";

/// A request's message that a middlebox holds back until it is let through.
struct Held(Option<oneshot::Receiver<Bytes>>);

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Ready(None);
        };
        match Pin::new(receiver).poll(cx) {
            Poll::Ready(Ok(data)) => {
                self.0 = None;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

async fn connect(info: &NodeInfo) -> SendRequest<Held> {
    let stream = TokioIo::new(support::dial(info).await.unwrap());
    let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn message(invoice: &Invoice) -> Bytes {
    let message = support::send_request(&invoice.bolt11).encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// Sends HEADERS now and the message when the returned sender is used.
fn start(
    sender: &mut SendRequest<Held>,
    macaroon: &[u8],
    timeout: &str,
) -> (oneshot::Sender<Bytes>, impl Future<Output = String> + use<>) {
    let (release, held) = oneshot::channel();
    let request = http::Request::post(SEND)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .header("macaroon", hex::encode(macaroon))
        .body(Held(Some(held)))
        .unwrap();
    let response = sender.send_request(request);
    (release, async move { status(response.await.unwrap()).await })
}

/// The status of a whole response.
async fn status(response: http::Response<Incoming>) -> String {
    let text = |headers: &http::HeaderMap| {
        let part = |name| {
            headers.get(name).map_or("", |value: &http::HeaderValue| value.to_str().unwrap())
        };
        format!("{} {}", part("grpc-status"), part("grpc-message"))
    };
    if response.headers().contains_key("grpc-status") {
        return text(response.headers());
    }
    let mut body = response.into_body();
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        match frame {
            Some(Ok(frame)) if frame.is_trailers() => return text(frame.trailers_ref().unwrap()),
            Some(Ok(_)) => {}
            other => return format!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_whole_request_let_through_after_track_said_failed_is_paid() {
    let scratch = fleet(Knobs { peers_offline: true, ..Knobs::default() }).await;
    let info = &scratch.fleet.nodes()[0];
    let (mut late, mut engine) = (router(info).await, router(info).await);
    let invoice = &invoices(1)[0];
    assert_eq!(track(&mut engine, invoice.payment_hash).await, NOT_FOUND);
    let failed = "FAILED/FAILURE_REASON_INSUFFICIENT_BALANCE";
    assert_eq!(pay(&mut engine, invoice).await, format!("INITIATED {failed}"));
    assert_eq!(track(&mut engine, invoice.payment_hash).await, failed);
    scratch.fleet.turn(Some(0), &Knobs::default()).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(pay(&mut late, invoice).await, "IN_FLIGHT SUCCEEDED");
}

#[tokio::test]
async fn a_caveat_that_ended_meanwhile_refuses_the_whole_request() {
    let scratch = fleet(Knobs::default()).await;
    let info = &scratch.fleet.nodes()[0];
    let admin = std::fs::read(&info.macaroon).unwrap();
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(300);
    let macaroon = add_caveat(&admin, &format!("time-before {until}")).unwrap();
    let mut sender = connect(info).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (release, answer) = start(&mut sender, &macaroon, "10S");
    let invoice = &invoices(1)[0];
    let _ = release.send(message(invoice));
    let answer = answer.await;
    assert!(answer.starts_with("2 caveat \"time-before"), "{answer}");
    assert!(answer.ends_with("not satisfied: macaroon has expired"), "{answer}");
    assert_eq!(track(&mut router(info).await, invoice.payment_hash).await, NOT_FOUND);
}

#[tokio::test]
async fn data_held_behind_headers_starts_a_payment_long_after_the_caveat_ended() {
    let scratch = fleet(Knobs::default()).await;
    let info = &scratch.fleet.nodes()[0];
    let admin = std::fs::read(&info.macaroon).unwrap();
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(500);
    let macaroon = add_caveat(&admin, &format!("time-before {until}")).unwrap();
    let (mut sender, mut engine) = (connect(info).await, router(info).await);
    let (release, answer) = start(&mut sender, &macaroon, "1H");
    let answer = tokio::spawn(answer);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let invoice = &invoices(1)[0];
    assert_eq!(track(&mut engine, invoice.payment_hash).await, NOT_FOUND);
    release.send(message(invoice)).unwrap();
    assert_eq!(answer.await.unwrap(), "0 ");
    assert_eq!(track(&mut engine, invoice.payment_hash).await, "SUCCEEDED");
}

#[tokio::test]
async fn data_that_comes_after_the_deadline_is_ignored() {
    let scratch = fleet(Knobs::default()).await;
    let info = &scratch.fleet.nodes()[0];
    let admin = std::fs::read(&info.macaroon).unwrap();
    let (mut sender, mut engine) = (connect(info).await, router(info).await);
    let (release, answer) = start(&mut sender, &admin, "300m");
    assert_eq!(answer.await, "4 context deadline exceeded");
    let invoice = &invoices(1)[0];
    let _ = release.send(message(invoice));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(track(&mut engine, invoice.payment_hash).await, NOT_FOUND);
}
