//! Who follows a payment, and what rings when.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::feed::Feed;
use crate::message::{View, framed, write_payment};
use crate::network::Notice;
use crate::node::{Alarm, Node, Open};
use crate::payment::{FailureReason, Status};
use crate::record::Record;

/// How soon an HTLC whose peer is away is looked at again.
const PEER_AWAY: Duration = Duration::from_millis(100);

impl Node {
    /// Sends the payment's present state to the streams that follow it.
    pub fn tell(&mut self, slot: u32, last: bool) {
        if self.knobs.is_mute {
            return;
        }
        let Entry::Occupied(followers) = self.feeds.entry(slot) else {
            return;
        };
        let feeds = if last { followers.remove() } else { followers.get().clone() };
        let status = self.payments.get(slot).status;
        for feed in feeds.iter().filter(|feed| Rc::strong_count(feed) > 1) {
            feed.send(last, |out| self.write(out, slot, status));
        }
    }

    /// Frames the payment at `slot` as it is or was in `status`.
    pub fn write(&self, out: &mut BytesMut, slot: u32, status: Status) {
        let payment = self.payments.get(slot);
        let (at, length) = payment.invoice_at;
        let invoice = self.book.read_back(at, usize::from(length));
        self.write_with(out, (slot, status), &invoice);
    }

    /// The same for a caller who has the invoice at hand.
    pub fn write_with(&self, out: &mut BytesMut, (slot, status): (u32, Status), invoice: &[u8]) {
        let (channels, route) = (self.channels.as_slice(), self.route());
        let (payment, index) = (self.payments.get(slot), u64::from(slot) + 1);
        let view = View { payment, invoice, index, status, channels, route };
        framed(out, |out| write_payment(out, &view));
    }

    /// Lets `feed` follow the payment at `slot`.
    pub fn follow(&mut self, slot: u32, feed: Rc<Feed>) {
        self.feeds.entry(slot).or_default().push(feed);
    }

    /// Has `alarm` rung for the payment at `slot`.
    pub fn set_timer(&mut self, at: Instant, slot: u32, alarm: Alarm) {
        let is_first = self.timers.peek().is_none_or(|Reverse((first, ..))| at < *first);
        self.timers.push(Reverse((at, slot, alarm)));
        if is_first {
            self.bell.notify_one();
        }
    }

    /// Does what is due at `now`; returns when to come again, `None` if nothing is planned.
    pub fn ring(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((at, slot, alarm))) = self.timers.peek().copied() {
            if at > now {
                return Some(at);
            }
            self.timers.pop();
            match alarm {
                Alarm::Attempt => {
                    let Some(waiting) = self.waiting.remove(&slot) else {
                        continue;
                    };
                    self.attempt(slot, waiting.limits(), waiting.decision);
                }
                Alarm::TimeOut => {
                    self.waiting.remove(&slot);
                    self.end(slot, FailureReason::Timeout, [0; 32]);
                }
                Alarm::Resolve => match self.open.get(&slot).copied() {
                    Some(_) if self.knobs.peers_offline || self.waits_for_chain(slot) => {
                        self.timers.push(Reverse((now + PEER_AWAY, slot, alarm)));
                    }
                    Some(Open { outcome }) => self.resolve(slot, outcome),
                    None => {}
                },
            }
        }
        None
    }

    /// Takes what the network says.
    pub fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Resolved(payment_hash) => {
                let Some(slot) = self.payments.find(&payment_hash) else {
                    return;
                };
                // What the chain decides is seen when it has.
                if !self.waits_for_chain(slot)
                    && let Some(Open { outcome }) = self.open.get(&slot).copied()
                {
                    self.resolve(slot, outcome);
                }
            }
            Notice::InvoiceChanged(payment_hash) => {
                let Some(invoice) = self.network.find(&payment_hash) else {
                    return;
                };
                let payer = invoice.payer.and_then(|payer| u16::try_from(payer).ok());
                self.book.append(&Record::InvoiceState {
                    payment_hash,
                    state: invoice.state as u8,
                    paid_msat: invoice.paid_msat,
                    preimage: invoice.preimage,
                    payer: payer.unwrap_or(u16::MAX),
                });
            }
        }
    }
}
