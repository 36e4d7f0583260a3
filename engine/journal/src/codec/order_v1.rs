//! Schema 1: orders, what clients wrote, amounts. Frozen: see the module above.

use std::sync::Arc;

use bincode::{BorrowDecode, Encode};
use fulgurite_core::{
    Msat, PaymentHash, UnixMs,
    order::{Order, Sealed},
};

use super::DecodeError;

#[derive(Encode, BorrowDecode)]
pub(super) struct OrderV1<'a> {
    invoice: &'a str,
    payment_hash: [u8; 32],
    payee: Option<[u8; 33]>,
    amount_msat: u64,
    amount_in_send: bool,
    fee_limit_msat: u64,
    invoice_expiry: i64,
    deadline: Option<i64>,
    reference: Option<SealedV1<'a>>,
}

impl<'a> From<&'a Order> for OrderV1<'a> {
    fn from(order: &'a Order) -> OrderV1<'a> {
        OrderV1 {
            invoice: &order.invoice,
            payment_hash: order.payment_hash.0,
            payee: order.payee,
            amount_msat: order.amount.get(),
            amount_in_send: order.amount_in_send,
            fee_limit_msat: order.fee_limit.get(),
            invoice_expiry: order.invoice_expiry.0,
            deadline: order.deadline.map(|time| time.0),
            reference: order.reference.as_ref().map(SealedV1::from),
        }
    }
}

impl TryFrom<OrderV1<'_>> for Order {
    type Error = DecodeError;

    fn try_from(order: OrderV1<'_>) -> Result<Order, DecodeError> {
        Ok(Order {
            invoice: order.invoice.into(),
            payment_hash: PaymentHash(order.payment_hash),
            payee: order.payee,
            amount: msat(order.amount_msat)?,
            amount_in_send: order.amount_in_send,
            fee_limit: msat(order.fee_limit_msat)?,
            invoice_expiry: UnixMs(order.invoice_expiry),
            deadline: order.deadline.map(UnixMs),
            reference: order.reference.map(Sealed::from),
        })
    }
}

#[derive(Encode, BorrowDecode)]
pub(super) struct SealedV1<'a> {
    key_id: u32,
    bytes: &'a [u8],
}

impl<'a> From<&'a Sealed> for SealedV1<'a> {
    fn from(sealed: &'a Sealed) -> SealedV1<'a> {
        SealedV1 { key_id: sealed.key_id, bytes: &sealed.bytes }
    }
}

impl From<SealedV1<'_>> for Sealed {
    fn from(sealed: SealedV1<'_>) -> Sealed {
        Sealed { key_id: sealed.key_id, bytes: sealed.bytes.into() }
    }
}

/// The rows of an upload, as they are encoded.
pub(super) fn rows_to_wire(orders: &[(u32, Arc<Order>)]) -> Vec<(u32, OrderV1<'_>)> {
    orders.iter().map(|(row, order)| (*row, OrderV1::from(&**order))).collect()
}

/// The rows of an upload, as they were encoded.
pub(super) fn rows_from_wire(
    orders: Vec<(u32, OrderV1<'_>)>,
) -> Result<Vec<(u32, Arc<Order>)>, DecodeError> {
    let row = |(row, order): (u32, OrderV1<'_>)| Ok((row, Arc::new(Order::try_from(order)?)));
    orders.into_iter().map(row).collect()
}

pub(super) fn msat(msat: u64) -> Result<Msat, DecodeError> {
    Msat::new(msat).map_err(|_| DecodeError::UnknownValue("amount_msat"))
}
