//! The channels of a node: the open ones, and what became of the others.

use std::{cell::Cell, collections::HashSet};

use fulgurite_core::port::{ChannelReport, ChannelsCall, ClosedChannels};
use fulgurite_proto::lnrpc;
use tokio::sync::Notify;

use crate::{
    convert,
    session::{Fault, Session},
};

const LIST_CHANNELS: &str = "/lnrpc.Lightning/ListChannels";
const PENDING_CHANNELS: &str = "/lnrpc.Lightning/PendingChannels";
const CLOSED_CHANNELS: &str = "/lnrpc.Lightning/ClosedChannels";

/// The reading of the channels that is wanted. It outlives a session.
#[derive(Default)]
pub(crate) struct Wanted {
    number: Cell<u64>,
    closed: Cell<bool>,
    bell: Notify,
}

impl Wanted {
    /// Wants a reading that begins after this call.
    pub(crate) fn want(&self, call: ChannelsCall) {
        self.number.set(self.number.get().max(call.number));
        self.closed.set(self.closed.get() || call.closed);
        self.bell.notify_one();
    }

    /// Waits until a reading is wanted.
    pub(crate) async fn wanted(&self) {
        self.bell.notified().await;
    }

    /// Reads the channels: an answer to everything that was wanted when it began.
    pub(crate) async fn read(&self, session: &Session) -> Result<ChannelReport, Fault> {
        let number = self.number.get();
        let with_closed = self.closed.take();
        let request = lnrpc::ListChannelsRequest::default();
        let answer: lnrpc::ListChannelsResponse = session.read(LIST_CHANNELS, &request).await?;
        let open = answer.channels.into_iter().map(convert::channel_info).collect();
        // After the open ones: what was open then and is closed since is in both.
        let closed = if with_closed { closed_channels(session).await } else { None };
        Ok(ChannelReport { open, closed, number })
    }
}

/// What became of channels that are not open any more. A macaroon without the right to ask is no
/// fault: then it is not known.
async fn closed_channels(session: &Session) -> Option<ClosedChannels> {
    match ask(session).await {
        Ok((pending, closed)) => Some(only_resolved(&pending, &closed)),
        Err(fault) => {
            tracing::warn!(error = %fault, "the node does not say which channels are closed");
            None
        }
    }
}

async fn ask(
    session: &Session,
) -> Result<(lnrpc::PendingChannelsResponse, lnrpc::ClosedChannelsResponse), Fault> {
    let request = lnrpc::ClosedChannelsRequest {};
    let closed = session.read(CLOSED_CHANNELS, &request).await?;
    let request = lnrpc::PendingChannelsRequest {};
    Ok((session.read(PENDING_CHANNELS, &request).await?, closed))
}

/// A channel is resolved when lnd says so, and does not call it pending too.
fn only_resolved(
    pending: &lnrpc::PendingChannelsResponse,
    closed: &lnrpc::ClosedChannelsResponse,
) -> ClosedChannels {
    let forced = pending.pending_force_closing_channels.iter().map(|channel| &channel.channel);
    let waiting = pending.waiting_close_channels.iter().map(|channel| &channel.channel);
    let closing: HashSet<&str> =
        forced.chain(waiting).flatten().map(|channel| channel.channel_point.as_str()).collect();
    let is_over =
        |channel: &&lnrpc::ChannelCloseSummary| !closing.contains(channel.channel_point.as_str());
    let ids = |channel: &lnrpc::ChannelCloseSummary| {
        let own = [channel.chan_id, channel.zero_conf_confirmed_scid];
        own.into_iter().chain(channel.alias_scids.clone()).filter(|id| *id != 0)
    };
    let over = closed.channels.iter().filter(is_over);
    let count = u32::try_from(closing.len()).unwrap_or(u32::MAX);
    ClosedChannels { resolved: over.flat_map(ids).collect(), closing: count }
}

#[cfg(test)]
mod tests {
    use lnrpc::pending_channels_response::{
        ForceClosedChannel, PendingChannel, WaitingCloseChannel,
    };

    use super::*;

    #[test]
    fn only_a_closed_channel_that_is_not_pending_is_resolved() {
        let channel = |point: &str| {
            Some(PendingChannel { channel_point: point.into(), ..PendingChannel::default() })
        };
        let waiting = WaitingCloseChannel { channel: channel("a:0") };
        let forced = ForceClosedChannel { channel: channel("b:1"), maturity_height: 7 };
        let pending = lnrpc::PendingChannelsResponse {
            pending_force_closing_channels: vec![forced],
            waiting_close_channels: vec![waiting],
        };
        let summary = |point: &str, chan_id| lnrpc::ChannelCloseSummary {
            channel_point: point.into(),
            chan_id,
            ..lnrpc::ChannelCloseSummary::default()
        };
        let early = lnrpc::ChannelCloseSummary {
            alias_scids: vec![40, 41],
            zero_conf_confirmed_scid: 42,
            ..summary("d:0", 4)
        };
        // The second is pending too: lnd was asked for both one after the other.
        let channels = vec![summary("c:0", 3), summary("b:1", 2), early];
        let closed = lnrpc::ClosedChannelsResponse { channels };
        let expected = ClosedChannels { resolved: vec![3, 4, 42, 40, 41], closing: 2 };
        assert_eq!(only_resolved(&pending, &closed), expected);
    }
}
