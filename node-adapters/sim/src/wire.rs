//! gRPC over HTTP/2, as much as the simulation needs: one message in, messages out, trailers.
//!
//! It stands on hyper and not on tonic's server, because lnd checks the macaroon when the HEADERS
//! arrive and waits for the message afterwards, and because a payment costs a third less so.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::{Body, Frame, Incoming};
use prost::Message;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::feed::{End, Feed, Next};
use crate::message::framed;
use crate::refusal::{Code, Refusal};

/// The longest request that is read, in bytes.
const MESSAGE_MAX: usize = 4 << 20;

/// How long a stream that is cut leaves the network for what was sent on it before.
const BEFORE_RESET: Duration = Duration::from_millis(5);

/// A stream that ends with RST_STREAM.
#[derive(Debug, thiserror::Error)]
#[error("the stream is reset")]
pub(crate) struct Reset;

/// What goes out behind the HEADERS of an answer.
pub(crate) enum Reply {
    /// Everything is known: messages, then the status OK.
    Whole(Bytes),
    /// The status OK.
    Trailers,
    /// Messages as they come.
    Live(Live),
    /// Nothing more.
    Done,
}

/// An open stream.
pub(crate) struct Live {
    feed: Rc<Feed>,
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        match &mut *self {
            Reply::Whole(messages) => {
                let messages = std::mem::take(messages);
                *self = Reply::Trailers;
                Poll::Ready(Some(Ok(Frame::data(messages))))
            }
            Reply::Trailers => {
                *self = Reply::Done;
                Poll::Ready(Some(Ok(Frame::trailers(ok_trailers()))))
            }
            Reply::Live(live) => {
                let (frame, is_last) = ready!(live.poll(cx));
                if is_last {
                    *self = Reply::Done;
                }
                Poll::Ready(Some(frame))
            }
            Reply::Done => Poll::Ready(None),
        }
    }
}

impl Live {
    /// The next frame, and whether it is the last.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Result<Frame<Bytes>, Reset>, bool)> {
        match self.feed.next(cx.waker()) {
            Next::Messages(messages) => Poll::Ready((Ok(Frame::data(messages)), false)),
            Next::End(End::Ok) => Poll::Ready((Ok(Frame::trailers(ok_trailers())), true)),
            Next::End(End::Reset) => {
                if self.deadline.take().is_some() || self.sleep.is_none() {
                    self.sleep = Some(Box::pin(sleep(BEFORE_RESET)));
                }
                let sleep = self.sleep.as_mut().expect("it was just set");
                sleep.as_mut().poll(cx).map(|()| (Err(Reset), true))
            }
            Next::Wait => {
                let Some(deadline) = self.deadline else {
                    return Poll::Pending;
                };
                let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                ready!(sleep.as_mut().poll(cx));
                Poll::Ready((Ok(Frame::trailers(refused_trailers(&too_late()))), true))
            }
        }
    }
}

fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

fn refused_trailers(refusal: &Refusal) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from(refusal.code as u16));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&refusal.message)) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

/// gRPC's spelling of a text in a header.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// The status of a stream that lived longer than its `grpc-timeout`.
pub(crate) fn too_late() -> Refusal {
    Refusal::new(Code::DeadlineExceeded, "context deadline exceeded")
}

/// An answer with status OK at its end.
pub(crate) fn answer(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// A unary answer.
pub(crate) fn unary(message: &impl Message) -> Response<Reply> {
    let mut out = BytesMut::with_capacity(message.encoded_len() + 5);
    framed(&mut out, |out| message.encode_raw(out));
    answer(Reply::Whole(out.freeze()))
}

/// A stream that follows `feed` until `deadline`.
pub(crate) fn live(feed: Rc<Feed>, deadline: Option<Instant>) -> Response<Reply> {
    answer(Reply::Live(Live { feed, deadline, sleep: None }))
}

/// An answer that is nothing but a status.
pub(crate) fn refuse(refusal: &Refusal) -> Response<Reply> {
    let mut response = answer(Reply::Done);
    response.headers_mut().extend(refused_trailers(refusal));
    response
}

/// When the stream of a request with these headers must end.
pub(crate) fn deadline(headers: &HeaderMap) -> Option<Instant> {
    let timeout = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let timeout = match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(Instant::now() + timeout)
}

/// Reads the one message of a request.
///
/// # Errors
/// `Some` refusal for a message that is none or comes after `deadline`, `None` for a client that
/// has gone.
pub(crate) async fn read<M: Message + Default>(
    body: Incoming,
    deadline: Option<Instant>,
) -> Result<M, Option<Refusal>> {
    let bytes = read_bytes(body, deadline).await?;
    M::decode(bytes)
        .map_err(|error| Some(Refusal::unknown(format!("grpc: failed to unmarshal: {error}"))))
}

async fn read_bytes(
    mut body: Incoming,
    deadline: Option<Instant>,
) -> Result<Bytes, Option<Refusal>> {
    let mut collected = BytesMut::new();
    // A timer costs more than reading a message that is there already.
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => {
                let Some(deadline) = deadline else {
                    return Poll::Pending;
                };
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                timer.as_mut().poll(cx).map(|()| Err(Some(too_late())))
            }
        });
        let data = match frame.await? {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) | None => return Err(None),
        };
        if collected.is_empty()
            && let Some(message) = whole_message(&data)?
        {
            return Ok(data.slice(5..5 + message));
        }
        collected.extend_from_slice(&data);
        if let Some(message) = whole_message(&collected)? {
            return Ok(collected.freeze().slice(5..5 + message));
        }
    }
}

/// The length of the message if all of it is there.
fn whole_message(bytes: &[u8]) -> Result<Option<usize>, Option<Refusal>> {
    let [compressed, a, b, c, d, rest @ ..] = bytes else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if *compressed != 0 || length > MESSAGE_MAX {
        let text = "grpc: compressed or too long a message";
        return Err(Some(Refusal::new(Code::Unimplemented, text)));
    }
    Ok((rest.len() >= length).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // A table: one line is one header and its length in microseconds.
    fn grpc_timeouts_are_read_in_every_unit() {
        for (text, micros) in [
            ("10S",       Some(10_000_000)),
            ("1H",        Some(3_600_000_000)),
            ("2M",        Some(120_000_000)),
            ("9999998u",  Some(9_999_998)),
            ("250m",      Some(250_000)),
            ("5000n",     Some(5)),
            ("",          None),
            ("S",         None),
            ("5x",        None),
            ("123456789S", None),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_static(text),
            )]);
            let before = Instant::now();
            let found = deadline(&headers).map(|end| (end - before).as_micros() as u64);
            match (found, micros) {
                (Some(found), Some(micros)) => assert!(found - micros < 1_000_000, "{text}"),
                (found, expected) => assert_eq!(found, expected, "{text}"),
            }
        }
    }

    #[test]
    fn texts_are_spelled_for_headers() {
        assert_eq!(percent_encoded("caveat \"x\": 5% ä\n"), "caveat \"x\": 5%25 %C3%A4%0A");
    }
}
