//! What a node's book says: one record per fact, and its bytes.

use crate::decide::Outcome;
use crate::payment::{FailureReason, Recipient, Shard, Shards};

/// One fact in a node's book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A payment began; the n-th of these has slot n.
    Started {
        payment_hash: [u8; 32],
        amount_msat: u64,
        created_ns: i64,
        recipient: Recipient,
        invoice: &'a [u8],
    },
    /// Its HTLCs went out. `due_ns` is when they resolve, 0 for never.
    Sent { slot: u32, outcome: Outcome, due_ns: i64, shards: Shards },
    /// It ended; succeeded if `reason` is none.
    Ended { slot: u32, reason: FailureReason, resolved_ns: i64, preimage: [u8; 32] },
    /// The node made an invoice.
    Invoice {
        payment_hash: [u8; 32],
        /// Zeros for a hold invoice.
        preimage: [u8; 32],
        add_index: u64,
        invoice: &'a [u8],
    },
    /// One of the node's invoices changed its state (lnd's number).
    InvoiceState {
        payment_hash: [u8; 32],
        state: u8,
        paid_msat: u64,
        preimage: [u8; 32],
        /// The paying node's index, `u16::MAX` for none.
        payer: u16,
    },
    /// A macaroon root key was made.
    RootKey { id: u64, key: [u8; 32] },
    /// A macaroon root key was deleted.
    RootKeyDeleted { id: u64 },
}

/// How many bytes of a [`Record::Started`] stand before its invoice, the length included.
pub(crate) const STARTED_HEAD: u64 = 4 + 1 + 32 + 8 + 8 + 1 + 8 + 2;

impl<'a> Record<'a> {
    /// Appends kind and fields to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Record::Started { payment_hash, amount_msat, created_ns, recipient, invoice } => {
                out.push(1);
                out.extend(payment_hash);
                out.extend(amount_msat.to_le_bytes());
                out.extend(created_ns.to_le_bytes());
                let (kind, index, payee) = match *recipient {
                    Recipient::Factory { index, payee } => (1, index, payee),
                    Recipient::Node => (0, 0, 0),
                };
                out.push(kind);
                out.extend(index.to_le_bytes());
                out.extend(payee.to_le_bytes());
                out.extend(*invoice);
            }
            Record::Sent { slot, outcome, due_ns, shards } => {
                out.push(2);
                out.extend(slot.to_le_bytes());
                out.push(outcome_number(*outcome));
                out.extend(due_ns.to_le_bytes());
                for shard in shards.as_slice() {
                    out.extend(shard.channel.to_le_bytes());
                    out.extend(shard.amount_msat.to_le_bytes());
                    out.extend(shard.fee_msat.to_le_bytes());
                }
            }
            Record::Ended { slot, reason, resolved_ns, preimage } => {
                out.push(3);
                out.extend(slot.to_le_bytes());
                out.push(*reason as u8);
                out.extend(resolved_ns.to_le_bytes());
                out.extend(preimage);
            }
            other => other.write_rare(out),
        }
    }

    fn write_rare(&self, out: &mut Vec<u8>) {
        match self {
            Record::Started { .. } | Record::Sent { .. } | Record::Ended { .. } => {}
            Record::Invoice { payment_hash, preimage, add_index, invoice } => {
                out.push(4);
                out.extend(payment_hash);
                out.extend(preimage);
                out.extend(add_index.to_le_bytes());
                out.extend(*invoice);
            }
            Record::InvoiceState { payment_hash, state, paid_msat, preimage, payer } => {
                out.push(5);
                out.extend(payment_hash);
                out.push(*state);
                out.extend(paid_msat.to_le_bytes());
                out.extend(preimage);
                out.extend(payer.to_le_bytes());
            }
            Record::RootKey { id, key } => {
                out.push(6);
                out.extend(id.to_le_bytes());
                out.extend(key);
            }
            Record::RootKeyDeleted { id } => {
                out.push(7);
                out.extend(id.to_le_bytes());
            }
        }
    }

    /// Reads what [`Record::write`] wrote; `None` for anything else.
    pub fn read(bytes: &'a [u8]) -> Option<Record<'a>> {
        let (kind, rest) = bytes.split_first()?;
        let mut fields = Fields(rest);
        let record = match kind {
            1 => {
                let (payment_hash, amount_msat) = (fields.take()?, fields.u64()?);
                let created_ns = i64::from_le_bytes(fields.take()?);
                let [kind] = fields.take()?;
                let (index, payee) = (fields.u64()?, u16::from_le_bytes(fields.take()?));
                let recipient = match kind {
                    0 => Recipient::Node,
                    1 => Recipient::Factory { index, payee },
                    _ => return None,
                };
                let invoice = fields.rest();
                Record::Started { payment_hash, amount_msat, created_ns, recipient, invoice }
            }
            2 => {
                let slot = u32::from_le_bytes(fields.take()?);
                let [outcome] = fields.take()?;
                let outcome = outcome_of(outcome)?;
                let due_ns = i64::from_le_bytes(fields.take()?);
                Record::Sent { slot, outcome, due_ns, shards: read_shards(&mut fields)? }
            }
            3 => {
                let slot = u32::from_le_bytes(fields.take()?);
                let [reason] = fields.take()?;
                let reason = FailureReason::from_number(reason)?;
                let resolved_ns = i64::from_le_bytes(fields.take()?);
                Record::Ended { slot, reason, resolved_ns, preimage: fields.take()? }
            }
            4 => {
                let (payment_hash, preimage) = (fields.take()?, fields.take()?);
                let add_index = fields.u64()?;
                Record::Invoice { payment_hash, preimage, add_index, invoice: fields.rest() }
            }
            5 => {
                let payment_hash = fields.take()?;
                let [state] = fields.take()?;
                let (paid_msat, preimage) = (fields.u64()?, fields.take()?);
                let payer = u16::from_le_bytes(fields.take()?);
                Record::InvoiceState { payment_hash, state, paid_msat, preimage, payer }
            }
            6 => Record::RootKey { id: fields.u64()?, key: fields.take()? },
            7 => Record::RootKeyDeleted { id: fields.u64()? },
            _ => return None,
        };
        fields.0.is_empty().then_some(record)
    }
}

fn read_shards(fields: &mut Fields<'_>) -> Option<Shards> {
    let mut shards = Vec::new();
    while !fields.0.is_empty() {
        let channel = u16::from_le_bytes(fields.take()?);
        shards.push(Shard { channel, amount_msat: fields.u64()?, fee_msat: fields.u64()? });
    }
    Some(Shards::from(shards))
}

fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Settle => 0,
        Outcome::Stuck => 100,
        Outcome::Zombie => 101,
        Outcome::Uncommitted => 102,
        Outcome::Fail(reason) => reason as u8,
    }
}

fn outcome_of(number: u8) -> Option<Outcome> {
    match number {
        0 => Some(Outcome::Settle),
        100 => Some(Outcome::Stuck),
        101 => Some(Outcome::Zombie),
        102 => Some(Outcome::Uncommitted),
        reason => FailureReason::from_number(reason).map(Outcome::Fail),
    }
}

/// What is still to be read of a record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let shard = Shard { channel: 3, amount_msat: 4, fee_msat: 5 };
        let factory = Recipient::Factory { index: 77, payee: 3 };
        let (payment_hash, preimage) = ([1; 32], [2; 32]);
        let started = |recipient| Record::Started {
            payment_hash,
            amount_msat: 5,
            created_ns: -6,
            recipient,
            invoice: b"lnbcrt1",
        };
        let sent = |outcome, shards| Record::Sent { slot: 9, outcome, due_ns: 8, shards };
        let failed = Outcome::Fail(FailureReason::Timeout);
        for record in [
            started(factory),
            started(Recipient::Node),
            sent(Outcome::Settle, Shards::One(shard)),
            sent(Outcome::Stuck, Shards::Many(vec![shard; 3].into())),
            sent(Outcome::Zombie, Shards::None),
            sent(Outcome::Uncommitted, Shards::One(shard)),
            sent(failed, Shards::None),
            Record::Ended { slot: 1, reason: FailureReason::NoRoute, resolved_ns: 5, preimage },
            Record::Invoice { payment_hash, preimage, add_index: 5, invoice: b"lnbcrt2" },
            Record::InvoiceState { payment_hash, state: 3, paid_msat: 5, preimage, payer: 2 },
            Record::RootKey { id: u64::MAX, key: [4; 32] },
            Record::RootKeyDeleted { id: 3 },
        ] {
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            assert_eq!(Record::read(&bytes).unwrap(), record);
            assert_eq!(Record::read(&bytes[..1]), None);
        }
        let mut bytes = Vec::new();
        started(factory).write(&mut bytes);
        assert_eq!(bytes[STARTED_HEAD as usize - 4..], *b"lnbcrt1");
    }
}
