//! What the nodes of one process share: each other's invoices, and who was sent to before.
//!
//! Locks are taken off the fast path only: invoices of the factory need none of this.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::UnboundedSender;

use crate::payment::FailureReason;

/// The state of a node's own invoice, with lnd's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvoiceState {
    Open = 0,
    Settled = 1,
    Canceled = 2,
    Accepted = 3,
}

impl InvoiceState {
    /// The state with lnd's `number`.
    pub fn from_number(number: u8) -> Option<InvoiceState> {
        use InvoiceState::{Accepted, Canceled, Open, Settled};
        [Open, Settled, Canceled, Accepted].into_iter().find(|state| *state as u8 == number)
    }
}

/// An invoice that a node of the fleet has made.
#[derive(Clone, Debug)]
pub(crate) struct NodeInvoice {
    /// Which node, an index.
    pub owner: usize,
    /// The text.
    pub bolt11: String,
    /// What it asks for, `None` for any amount.
    pub amount_msat: Option<u64>,
    /// Zeros until it is known, which for a hold invoice is at the settlement.
    pub preimage: [u8; 32],
    /// Whether the owner decides by hand.
    pub hold: bool,
    /// Its number at the owner, from 1.
    pub add_index: u64,
    /// Where it stands.
    pub state: InvoiceState,
    /// What was paid, in millisatoshi.
    pub paid_msat: u64,
    /// Who pays or paid it, a node's index.
    pub payer: Option<usize>,
}

/// What becomes of an HTLC at a node's invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Settled with this preimage.
    Settled([u8; 32]),
    /// Waits for the owner of a hold invoice.
    Held,
    /// The payment fails.
    Refused(FailureReason),
}

/// What the network tells a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// The HTLCs of this payment of yours have an end.
    Resolved([u8; 32]),
    /// Your invoice changed.
    InvoiceChanged([u8; 32]),
}

/// What all nodes of the process share.
#[derive(Default)]
pub(crate) struct Network {
    invoices: Mutex<HashMap<[u8; 32], NodeInvoice>>,
    hash_by_text: Mutex<HashMap<String, [u8; 32]>>,
    mailboxes: Mutex<HashMap<usize, UnboundedSender<Notice>>>,
    first_sends: Mutex<HashSet<[u8; 32]>>,
}

impl Network {
    /// Takes note of a send of this hash by any node; whether it is the fleet's first.
    pub fn is_first_send(&self, payment_hash: &[u8; 32]) -> bool {
        self.first_sends.lock().insert(*payment_hash)
    }

    /// Delivers what the network has for node `index` to `mailbox` from now on.
    pub fn connect(&self, index: usize, mailbox: UnboundedSender<Notice>) {
        self.mailboxes.lock().insert(index, mailbox);
    }

    /// Takes a new invoice in; `false` if there is one with this hash.
    pub fn add(&self, payment_hash: [u8; 32], invoice: NodeInvoice) -> bool {
        let mut invoices = self.invoices.lock();
        if invoices.contains_key(&payment_hash) {
            return false;
        }
        self.hash_by_text.lock().insert(invoice.bolt11.clone(), payment_hash);
        invoices.insert(payment_hash, invoice);
        true
    }

    /// A copy of the invoice with this hash.
    pub fn find(&self, payment_hash: &[u8; 32]) -> Option<NodeInvoice> {
        self.invoices.lock().get(payment_hash).cloned()
    }

    /// The hash of the invoice with this text, if a node of this process made it.
    pub fn hash_of(&self, bolt11: &str) -> Option<[u8; 32]> {
        self.hash_by_text.lock().get(bolt11).copied()
    }

    /// How many invoices node `owner` has made.
    pub fn count(&self, owner: usize) -> u64 {
        self.invoices.lock().values().filter(|invoice| invoice.owner == owner).count() as u64
    }

    /// An HTLC set of `amount_msat` from node `payer` arrives for this hash.
    pub fn arrive(&self, payment_hash: &[u8; 32], payer: usize, amount_msat: u64) -> Verdict {
        const REFUSED: Verdict = Verdict::Refused(FailureReason::IncorrectPaymentDetails);
        let mut invoices = self.invoices.lock();
        let Some(invoice) = invoices.get_mut(payment_hash) else {
            return Verdict::Refused(FailureReason::NoRoute);
        };
        let is_the_payer = invoice.payer == Some(payer);
        match invoice.state {
            InvoiceState::Settled if is_the_payer => Verdict::Settled(invoice.preimage),
            InvoiceState::Accepted if is_the_payer => Verdict::Held,
            InvoiceState::Settled | InvoiceState::Accepted | InvoiceState::Canceled => REFUSED,
            InvoiceState::Open if invoice.amount_msat.is_some_and(|asked| amount_msat < asked) => {
                REFUSED
            }
            InvoiceState::Open => {
                invoice.payer = Some(payer);
                invoice.paid_msat = amount_msat;
                let held = invoice.hold;
                invoice.state = if held { InvoiceState::Accepted } else { InvoiceState::Settled };
                self.tell(invoice.owner, Notice::InvoiceChanged(*payment_hash));
                if held { Verdict::Held } else { Verdict::Settled(invoice.preimage) }
            }
        }
    }

    /// The owner of a hold invoice gives the preimage away.
    ///
    /// # Errors
    /// lnd's text.
    pub fn settle(&self, preimage: [u8; 32]) -> Result<(), &'static str> {
        let payment_hash: [u8; 32] = Sha256::digest(preimage).into();
        let mut invoices = self.invoices.lock();
        let invoice = invoices.get_mut(&payment_hash).ok_or("unable to locate invoice")?;
        match invoice.state {
            InvoiceState::Settled => return Ok(()),
            InvoiceState::Open => return Err("invoice still open"),
            InvoiceState::Canceled => return Err("invoice already canceled"),
            InvoiceState::Accepted => {}
        }
        invoice.state = InvoiceState::Settled;
        invoice.preimage = preimage;
        self.tell_both(invoice, payment_hash);
        Ok(())
    }

    /// The owner cancels.
    ///
    /// # Errors
    /// lnd's text.
    pub fn cancel(&self, payment_hash: [u8; 32]) -> Result<(), &'static str> {
        let mut invoices = self.invoices.lock();
        let invoice = invoices.get_mut(&payment_hash).ok_or("unable to locate invoice")?;
        match invoice.state {
            InvoiceState::Canceled => return Ok(()),
            InvoiceState::Settled => return Err("invoice already settled"),
            InvoiceState::Open | InvoiceState::Accepted => {}
        }
        invoice.state = InvoiceState::Canceled;
        self.tell_both(invoice, payment_hash);
        Ok(())
    }

    /// An invoice's state from its owner's book, at the start.
    pub fn restore(&self, payment_hash: [u8; 32], change: impl FnOnce(&mut NodeInvoice)) {
        if let Some(invoice) = self.invoices.lock().get_mut(&payment_hash) {
            change(invoice);
        }
    }

    fn tell_both(&self, invoice: &NodeInvoice, payment_hash: [u8; 32]) {
        self.tell(invoice.owner, Notice::InvoiceChanged(payment_hash));
        if let Some(payer) = invoice.payer {
            self.tell(payer, Notice::Resolved(payment_hash));
        }
    }

    fn tell(&self, node: usize, notice: Notice) {
        if let Some(mailbox) = self.mailboxes.lock().get(&node) {
            // A node that is down reads its book and asks again when it starts.
            let _ = mailbox.send(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_invoice_is_held_settled_once_and_refused_to_others() {
        let network = Network::default();
        let preimage = [3; 32];
        let hash: [u8; 32] = Sha256::digest(preimage).into();
        let invoice = NodeInvoice {
            owner: 0,
            bolt11: "lnbcrt1".into(),
            amount_msat: Some(1_000),
            preimage: [0; 32],
            hold: true,
            add_index: 1,
            state: InvoiceState::Open,
            paid_msat: 0,
            payer: None,
        };
        assert!(network.add(hash, invoice.clone()) && !network.add(hash, invoice));
        let refused = Verdict::Refused(FailureReason::IncorrectPaymentDetails);
        assert_eq!(network.settle(preimage), Err("invoice still open"));
        assert_eq!(network.arrive(&hash, 1, 999), refused);
        assert_eq!(network.arrive(&hash, 1, 1_000), Verdict::Held);
        assert_eq!(network.arrive(&hash, 2, 1_000), refused);
        assert_eq!(network.settle(preimage), Ok(()));
        assert_eq!(network.settle(preimage), Ok(()));
        assert_eq!(network.arrive(&hash, 1, 1_000), Verdict::Settled(preimage));
        assert_eq!(network.arrive(&hash, 2, 1_000), refused);
        assert_eq!(network.cancel(hash), Err("invoice already settled"));
        let nobody = Verdict::Refused(FailureReason::NoRoute);
        assert_eq!(network.arrive(&[9; 32], 1, 1), nobody);
    }
}
