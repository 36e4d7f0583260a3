//! Writes `lnrpc.Payment` by hand, straight from a node's table into the stream's buffer: the
//! generated code would allocate a dozen strings for each of the millions of updates.

use bytes::{BufMut, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::channel::Channel;
use crate::payment::{FailureReason, Payment, Shard, Status};

/// One payment as a client sees it.
pub(crate) struct View<'a> {
    /// The payment.
    pub payment: &'a Payment,
    /// Its invoice's text.
    pub invoice: &'a [u8],
    /// Its number at the node, from 1.
    pub index: u64,
    /// The status to show; for an update that was overtaken not the present one.
    pub status: Status,
    /// The node's channels.
    pub channels: &'a [Channel],
    /// The key of the peers and the height of the chain.
    pub route: Route<'a>,
}

/// What is the same in all routes of a node.
#[derive(Clone, Copy)]
pub(crate) struct Route<'a> {
    /// The first hop's public key in hex.
    pub peer: &'a [u8],
    /// The last HTLC's `expiry`.
    pub expiry: u32,
}

/// Appends a gRPC message: the prefix of 5 bytes and what `write` writes.
pub(crate) fn framed(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, 5);
    write(out);
    let length = u32::try_from(out.len() - start - 5).expect("messages are below 4 GiB");
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

/// Appends the `lnrpc.Payment`.
pub(crate) fn write_payment(out: &mut BytesMut, view: &View<'_>) {
    let payment = view.payment;
    let is_final = matches!(view.status, Status::Succeeded | Status::Failed);
    out.reserve(640 + view.invoice.len());
    put_hex(out, 1, &payment.payment_hash);
    if view.status == Status::Succeeded {
        put_hex(out, 6, &payment.preimage);
    }
    put_number(out, 7, payment.amount_msat / 1_000);
    put_number(out, 8, payment.amount_msat);
    put_bytes(out, 9, view.invoice);
    put_number(out, 10, view.status as u64);
    if view.status == Status::Succeeded {
        let fee_msat = payment.shards.fee_msat();
        put_number(out, 11, fee_msat / 1_000);
        put_number(out, 12, fee_msat);
    }
    put_number(out, 13, payment.created_ns as u64);
    if view.status != Status::Initiated {
        for (number, shard) in payment.shards.as_slice().iter().enumerate() {
            put_message(out, 14, |out| write_htlc(out, view, (number as u64, shard)));
        }
    }
    put_number(out, 15, view.index);
    if is_final && payment.reason != FailureReason::None {
        put_number(out, 16, payment.reason as u64);
    }
}

/// An `lnrpc.HTLCAttempt`.
fn write_htlc(out: &mut BytesMut, view: &View<'_>, (number, shard): (u64, &Shard)) {
    let payment = view.payment;
    match view.status {
        Status::Initiated | Status::InFlight => {}
        Status::Succeeded => put_number(out, 1, 1),
        Status::Failed => put_number(out, 1, 2),
    }
    put_message(out, 2, |out| {
        put_number(out, 1, u64::from(view.route.expiry));
        put_message(out, 4, |out| {
            put_number(out, 1, view.channels[usize::from(shard.channel)].chan_id);
            put_number(out, 5, u64::from(view.route.expiry));
            put_number(out, 6, shard.amount_msat);
            put_number(out, 7, shard.fee_msat);
            put_bytes(out, 8, view.route.peer);
        });
        put_number(out, 5, shard.fee_msat);
        put_number(out, 6, shard.amount_msat + shard.fee_msat);
    });
    put_number(out, 3, payment.created_ns as u64);
    match view.status {
        Status::Initiated | Status::InFlight => {}
        Status::Succeeded => {
            put_number(out, 4, payment.resolved_ns as u64);
            put_bytes(out, 6, &payment.preimage);
        }
        Status::Failed => {
            put_number(out, 4, payment.resolved_ns as u64);
            put_message(out, 5, |out| {
                let code = match payment.reason {
                    FailureReason::IncorrectPaymentDetails => 1,
                    _ => 15,
                };
                put_number(out, 1, code);
                put_number(out, 8, 1);
            });
        }
    }
    // A payment has at most 1,000 parts: attempt ids are unique at the node.
    put_number(out, 7, view.index * 1_000 + number);
}

/// A varint field; zeros are left out, as proto3 wants it.
fn put_number(out: &mut BytesMut, tag: u64, number: u64) {
    if number != 0 {
        encode_varint(tag << 3, out);
        encode_varint(number, out);
    }
}

fn put_bytes(out: &mut BytesMut, tag: u64, bytes: &[u8]) {
    encode_varint(tag << 3 | 2, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_hex(out: &mut BytesMut, tag: u64, bytes: &[u8; 32]) {
    let mut text = [0; 64];
    // 64 places are exactly enough.
    let _ = hex::encode_to_slice(bytes, &mut text);
    put_bytes(out, tag, &text);
}

/// A nested message: its length goes in front once it is known. Two bytes are kept for it; a
/// varint may be longer than it must.
pub(crate) fn put_message(out: &mut BytesMut, tag: u64, write: impl FnOnce(&mut BytesMut)) {
    encode_varint(tag << 3 | 2, out);
    let start = out.len();
    out.put_bytes(0, 2);
    write(out);
    let length = (out.len() - start - 2) as u64;
    if length < 1 << 14 {
        out[start] = (length & 0x7f) as u8 | 0x80;
        out[start + 1] = (length >> 7) as u8;
        return;
    }
    let body = out.split_off(start + 2);
    out.truncate(start);
    out.reserve(encoded_len_varint(length) + body.len());
    encode_varint(length, out);
    out.unsplit(body);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fulgurite_proto::lnrpc;
    use prost::Message;

    use super::*;
    use crate::payment::{Recipient, Shards};

    fn payment(status: Status, shards: Shards) -> Payment {
        let failed = status == Status::Failed;
        Payment {
            payment_hash: [0xab; 32],
            status,
            reason: if failed { FailureReason::NoRoute } else { FailureReason::None },
            superseded: false,
            recipient: Recipient::Node,
            amount_msat: 21_000_500,
            created_ns: 1_700_000_000_000_000_001,
            resolved_ns: 1_700_000_000_000_000_002,
            shards,
            preimage: [0xcd; 32],
            invoice_at: (0, 0),
        }
    }

    fn decoded(status: Status, shards: Shards) -> lnrpc::Payment {
        let payment = payment(status, shards);
        let channels = [Channel::new(77, 1_000), Channel::new(1 << 60, 1_000)];
        let route = Route { peer: b"02aa", expiry: 900 };
        let invoice = b"lnbcrt1";
        let view =
            View { payment: &payment, invoice, index: 5, status, channels: &channels, route };
        let mut out = BytesMut::new();
        framed(&mut out, |out| write_payment(out, &view));
        assert_eq!(out[..5], [&[0][..], &(out.len() as u32 - 5).to_be_bytes()].concat());
        lnrpc::Payment::decode(&out[5..]).unwrap()
    }

    #[test]
    fn the_generated_code_reads_what_is_written_by_hand() {
        let shard = Shard { channel: 1, amount_msat: 21_000_500, fee_msat: 2_100 };
        let read = decoded(Status::Succeeded, Shards::One(shard));
        assert_eq!(read.payment_hash, "ab".repeat(32));
        assert_eq!(read.payment_preimage, "cd".repeat(32));
        assert_eq!((read.value_sat, read.value_msat), (21_000, 21_000_500));
        assert_eq!((read.fee_sat, read.fee_msat), (2, 2_100));
        assert_eq!(read.status(), lnrpc::payment::PaymentStatus::Succeeded);
        assert_eq!((read.payment_request.as_str(), read.payment_index), ("lnbcrt1", 5));
        assert_eq!(read.htlcs[0].status(), lnrpc::htlc_attempt::HtlcStatus::Succeeded);
        assert_eq!(read.htlcs[0].preimage, [0xcd; 32]);
        let route = read.htlcs[0].route.as_ref().unwrap();
        assert_eq!((route.hops[0].chan_id, route.total_fees_msat), (1 << 60, 2_100));
        assert_eq!(route.hops[0].pub_key, "02aa");
    }

    #[test]
    fn many_parts_and_no_parts_are_read_too() {
        let shard = Shard { channel: 0, amount_msat: 1, fee_msat: 0 };
        let read = decoded(Status::InFlight, Shards::Many(vec![shard; 300].into()));
        assert_eq!((read.htlcs.len(), read.fee_msat, read.htlcs[9].status), (300, 0, 0));
        let read = decoded(Status::Failed, Shards::None);
        assert_eq!(read.failure_reason(), lnrpc::PaymentFailureReason::FailureReasonNoRoute);
        assert_eq!((read.htlcs.len(), read.payment_preimage.as_str()), (0, ""));
        let mut out = BytesMut::new();
        put_message(&mut out, 1, |out| out.put_bytes(7, 20_000));
        assert_eq!(out.len(), 1 + 3 + 20_000);
    }
}
