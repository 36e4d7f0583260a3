//! Rebuilds a node's state from its book, record by record.

use std::collections::HashMap;

use crate::auth::Guard;
use crate::bolt11;
use crate::channel::Channel;
use crate::decide::Outcome;
use crate::network::{InvoiceState, Network, NodeInvoice};
use crate::payment::{FailureReason, Payment, Payments, Shards, Status};
use crate::record::{Record, STARTED_HEAD};

/// A node's state as far as its book has been read.
pub(crate) struct Restored {
    /// Whose book it is.
    pub owner: usize,
    /// All payments so far.
    pub payments: Payments,
    /// With the balances that those left.
    pub channels: Vec<Channel>,
    /// The root keys.
    pub guard: Guard,
    /// Payments with HTLCs out: their fate and when it comes, in nanoseconds since 1970.
    pub open: HashMap<u32, (Outcome, i64)>,
}

impl Restored {
    /// Takes the record that begins at `at`.
    pub fn apply(&mut self, at: u64, record: Record<'_>, network: &Network) {
        match record {
            Record::Started { payment_hash, amount_msat, created_ns, recipient, invoice } => {
                let length = u16::try_from(invoice.len()).unwrap_or(0);
                self.payments.add(Payment {
                    payment_hash,
                    status: Status::Initiated,
                    reason: FailureReason::None,
                    superseded: false,
                    recipient,
                    amount_msat,
                    created_ns,
                    resolved_ns: 0,
                    shards: Shards::None,
                    preimage: [0; 32],
                    invoice_at: (at + STARTED_HEAD, length),
                });
            }
            Record::Sent { slot, outcome: Outcome::Uncommitted, .. } => {
                self.give_back(slot);
                self.open.insert(slot, (Outcome::Uncommitted, 0));
            }
            Record::Sent { slot, outcome, due_ns, shards } => {
                self.reserve(&shards);
                let payment = self.payments.get_mut(slot);
                payment.status = Status::InFlight;
                payment.shards = shards;
                self.open.insert(slot, (outcome, due_ns));
            }
            Record::Ended { slot, reason, resolved_ns, preimage } => {
                self.end(slot, reason, resolved_ns);
                self.payments.get_mut(slot).preimage = preimage;
            }
            Record::RootKey { id, key } => self.guard.add_root_key(id, key),
            Record::RootKeyDeleted { id } => {
                self.guard.delete_root_key(id);
            }
            Record::Invoice { .. } | Record::InvoiceState { .. } => {
                self.apply_invoice(record, network);
            }
        }
    }

    fn reserve(&mut self, shards: &Shards) {
        for shard in shards.as_slice() {
            // A fleet that is started with fewer channels has lost those balances.
            if let Some(channel) = self.channels.get_mut(usize::from(shard.channel)) {
                channel.reserve(shard);
            }
        }
    }

    /// No HTLC of the payment is on a channel, whatever its attempts say.
    fn give_back(&mut self, slot: u32) {
        for shard in self.payments.get(slot).shards.as_slice() {
            if let Some(channel) = self.channels.get_mut(usize::from(shard.channel)) {
                channel.resolve(shard, false);
            }
        }
    }

    fn end(&mut self, slot: u32, reason: FailureReason, resolved_ns: i64) {
        let was_lost = matches!(self.open.remove(&slot), Some((Outcome::Uncommitted, _)));
        let payment = self.payments.get_mut(slot);
        if was_lost {
            // Its channels have back what they had given.
            payment.shards = Shards::None;
        }
        let settled = reason == FailureReason::None;
        payment.status = if settled { Status::Succeeded } else { Status::Failed };
        payment.reason = reason;
        payment.resolved_ns = resolved_ns;
        for shard in payment.shards.as_slice() {
            if let Some(channel) = self.channels.get_mut(usize::from(shard.channel)) {
                channel.resolve(shard, settled);
            }
        }
        if !settled {
            payment.shards = Shards::None;
        }
    }

    fn apply_invoice(&self, record: Record<'_>, network: &Network) {
        match record {
            Record::Invoice { payment_hash, preimage, add_index, invoice } => {
                let bolt11 = String::from_utf8_lossy(invoice).into_owned();
                let facts = bolt11::glance(&bolt11);
                let hold = preimage == [0; 32];
                // A node that restarts alone is still known to the others: theirs is newer.
                network.add(
                    payment_hash,
                    NodeInvoice {
                        owner: self.owner,
                        amount_msat: facts.and_then(|facts| facts.amount_msat),
                        bolt11,
                        preimage,
                        hold,
                        add_index,
                        state: InvoiceState::Open,
                        paid_msat: 0,
                        payer: None,
                    },
                );
            }
            Record::InvoiceState { payment_hash, state, paid_msat, preimage, payer } => {
                let Some(state) = InvoiceState::from_number(state) else {
                    return;
                };
                network.restore(payment_hash, |invoice| {
                    let is_final =
                        |state| matches!(state, InvoiceState::Settled | InvoiceState::Canceled);
                    if is_final(invoice.state) && !is_final(state) {
                        return;
                    }
                    invoice.state = state;
                    invoice.paid_msat = paid_msat;
                    invoice.preimage = preimage;
                    invoice.payer = (payer != u16::MAX).then_some(usize::from(payer));
                });
            }
            // `apply` hands on nothing else.
            _ => {}
        }
    }
}
