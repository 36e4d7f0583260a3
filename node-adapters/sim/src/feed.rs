//! A gRPC stream that is still open: what waits to be sent on it, and how it ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use crate::decide::Cut;

/// How a stream ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Everything was sent.
    Ok,
    /// With RST_STREAM and nothing else.
    Reset,
}

/// One open stream, shared by its node and its connection.
pub(crate) struct Feed {
    /// Whether the client wants no messages before the last.
    pub final_only: bool,
    state: RefCell<State>,
}

struct State {
    /// Framed messages: several that come before the connection takes them leave as one frame.
    waiting: BytesMut,
    cut: Cut,
    messages: u32,
    end: Option<End>,
    waker: Option<Waker>,
}

/// What a stream has for its connection.
pub(crate) enum Next {
    /// Messages; more may come.
    Messages(Bytes),
    /// The end.
    End(End),
    /// Nothing now.
    Wait,
}

impl Feed {
    /// A stream without messages so far.
    pub fn new(final_only: bool, cut: Cut) -> Rc<Feed> {
        let waiting = BytesMut::new();
        let state = State { waiting, cut, messages: 0, end: None, waker: None };
        Rc::new(Feed { final_only, state: RefCell::new(state) })
    }

    /// Sends a message that `write` frames; `last` ends the stream behind it.
    pub fn send(&self, last: bool, write: impl FnOnce(&mut BytesMut)) {
        let mut state = self.state.borrow_mut();
        let is_cut = match state.cut {
            Cut::Never => false,
            Cut::Silent => true,
            Cut::AfterFirst => state.messages > 0,
            Cut::BeforeLast => last,
        };
        if is_cut {
            state.end.get_or_insert(End::Reset);
        } else if last || !self.final_only {
            write(&mut state.waiting);
            state.messages += 1;
            if state.cut == Cut::AfterFirst {
                state.end.get_or_insert(End::Reset);
            }
        }
        if last {
            state.end.get_or_insert(End::Ok);
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// What there is to send; with [`Next::Wait`] the waker is called when that changes.
    pub fn next(&self, waker: &Waker) -> Next {
        let mut state = self.state.borrow_mut();
        if !state.waiting.is_empty() {
            return Next::Messages(state.waiting.split().freeze());
        }
        match &state.end {
            Some(end) => Next::End(end.clone()),
            None => {
                if !state.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
                    state.waker = Some(waker.clone());
                }
                Next::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends three messages, the last as the last, and tells what a client sees of them.
    fn seen(final_only: bool, cut: Cut) -> String {
        let feed = Feed::new(final_only, cut);
        for (message, last) in [(b'a', false), (b'b', false), (b'c', true)] {
            feed.send(last, |out| out.extend([message]));
        }
        let mut text = String::new();
        loop {
            match feed.next(Waker::noop()) {
                Next::Messages(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Next::End(end) => return format!("{text} {end:?}"),
                Next::Wait => return format!("{text} waits"),
            }
        }
    }

    #[test]
    fn a_stream_is_cut_where_it_should_be() {
        assert_eq!(seen(false, Cut::Never), "abc Ok");
        assert_eq!(seen(true, Cut::Never), "c Ok");
        assert_eq!(seen(false, Cut::Silent), " Reset");
        assert_eq!(seen(false, Cut::AfterFirst), "a Reset");
        assert_eq!(seen(false, Cut::BeforeLast), "ab Reset");
    }
}
