//! Connections that come in: how many, and for how long one may say nothing.
//!
//! A connection costs memory from its first byte. Somebody who opens many and sends half a request
//! on each must not be able to keep them: a place is held only so long as the peer goes on.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

/// No file is free for another connection: the next try comes after this wait.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What a listener allows its connections.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// The most at once; what comes above is closed at once.
    pub connections_max: u32,
    /// So many bytes must be there...
    pub first_bytes: usize,
    /// ...within this time after the connection was made.
    pub first_bytes_time_max: Duration,
    /// A peer that reads nothing for this long while it is written to is let go. `None`: it may
    /// read as slowly as it likes.
    pub write_time_max: Option<Duration>,
    /// What a connection above the limit is told before it is closed.
    pub farewell: &'static [u8],
}

/// A listener, and the places of its connections.
pub struct Incoming {
    listener: TcpListener,
    places: Arc<Semaphore>,
    allowed: Allowed,
}

impl Incoming {
    /// Takes connections from `listener`.
    pub fn of(listener: TcpListener, allowed: Allowed) -> Incoming {
        let places = usize::try_from(allowed.connections_max).unwrap_or(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Incoming { listener, places, allowed }
    }

    /// Waits for the next connection that has a place.
    pub async fn next(&self) -> Connection {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(place) => return Connection::new(stream, place, &self.allowed),
                    Err(_) => self.refuse(stream),
                },
                Err(fault) if is_of_one_connection(&fault) => {}
                Err(fault) => {
                    tracing::warn!(error = %fault, "no connection can be taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn refuse(&self, stream: TcpStream) {
        // The send buffer is empty, and what does not fit into it is not worth waiting for.
        let told = stream.into_std().and_then(|mut it| it.write(self.allowed.farewell));
        if let Err(fault) = told {
            tracing::debug!(error = %fault, "a connection went before it was closed");
        }
        tracing::debug!(reason = "too many connections", "a connection is closed at once");
    }

    /// The connections as a stream without end.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Connection>> {
        stream::unfold(self, |incoming| async { Some((Ok(incoming.next().await), incoming)) })
    }
}

fn is_of_one_connection(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(fault.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// One connection; it gives its place back when it is dropped.
pub struct Connection {
    stream: TcpStream,
    opening: Option<Opening>,
    write_time_max: Option<Duration>,
    blocked: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// The time in which a peer must have sent its first bytes.
struct Opening {
    bytes_left: usize,
    time: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, allowed: &Allowed) -> Connection {
        // Nagle's algorithm costs 40 ms now and then.
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(error = %fault, "no TCP_NODELAY");
        }
        let opening = (allowed.first_bytes > 0).then(|| Opening {
            bytes_left: allowed.first_bytes,
            time: Box::pin(sleep(allowed.first_bytes_time_max)),
        });
        let write_time_max = allowed.write_time_max;
        Connection { stream, opening, write_time_max, blocked: None, _place: place }
    }

    /// What a write came to; an error when the peer has read nothing for too long.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let (Some(max), Poll::Pending) = (self.write_time_max, &written) else {
            self.blocked = None;
            return written;
        };
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(sleep(max)));
        ready!(blocked.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing")))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(opening) = &mut self.opening else {
            return read;
        };
        if read.is_ready() {
            let count = buffer.filled().len() - before;
            opening.bytes_left = opening.bytes_left.saturating_sub(count);
            if opening.bytes_left == 0 {
                self.opening = None;
            }
            return read;
        }
        ready!(opening.time.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer says nothing")))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// A request's body that must be whole within a time.
pub mod body {
    use axum::{
        Error,
        body::{Body, Bytes, HttpBody},
    };
    use bytes::BytesMut;
    use futures::StreamExt;
    use hyper::body::{Frame, SizeHint};

    use super::*;
    use crate::problem::{Code, Problem};

    /// A body that ends with an error when it is not whole within `time_max`: a status for gRPC,
    /// which knows its own.
    pub fn bounded(body: Body, time_max: Duration) -> Body {
        Body::new(Bounded { body, time_max, end: None })
    }

    struct Bounded {
        body: Body,
        time_max: Duration,
        end: Option<Pin<Box<Sleep>>>,
    }

    impl HttpBody for Bounded {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
                return Poll::Ready(frame);
            }
            // Most bodies are there at once: they cost no timer.
            let time_max = self.time_max;
            let end = self.end.get_or_insert_with(|| Box::pin(sleep(time_max)));
            ready!(end.as_mut().poll(cx));
            let status = Problem::of(Code::UploadTimeout, too_slow(time_max)).into_status();
            Poll::Ready(Some(Err(Error::new(status))))
        }

        fn is_end_stream(&self) -> bool {
            self.body.is_end_stream()
        }

        fn size_hint(&self) -> SizeHint {
            self.body.size_hint()
        }
    }

    /// Reads a body of at most `bytes_max` within `time_max`.
    ///
    /// # Errors
    /// When it is larger, takes longer or is cut.
    pub async fn read(body: Body, bytes_max: usize, time_max: Duration) -> Result<Bytes, Problem> {
        // Most requests have none: they cost no timer.
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let read = tokio::time::timeout(time_max, read_all(body, bytes_max)).await;
        read.unwrap_or_else(|_| Err(Problem::of(Code::UploadTimeout, too_slow(time_max))))
    }

    async fn read_all(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
        let mut frames = body.into_data_stream();
        let mut whole = BytesMut::new();
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|fault| {
                Problem::of(Code::UploadIncomplete, format!("the body was cut: {fault}"))
            })?;
            if whole.len() + frame.len() > bytes_max {
                let detail = format!("the body must have at most {bytes_max} bytes");
                return Err(Problem::of(Code::MessageTooLarge, detail));
            }
            whole.extend_from_slice(&frame);
        }
        Ok(whole.freeze())
    }

    fn too_slow(time_max: Duration) -> String {
        format!(
            "the request was not whole within {} s; nothing was accepted: send it again with the \
             same key",
            time_max.as_secs()
        )
    }
}
