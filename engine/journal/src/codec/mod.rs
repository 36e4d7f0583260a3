//! Events and rows as bytes: the one place that knows the encoding.
//!
//! The bytes are bincode's with fixed-width little-endian integers. Core's types are never
//! encoded themselves: frozen wire types, one set per schema number, are converted from and to
//! them. A change of what an event holds is a new schema number and a conversion of the old one;
//! `tests/golden` keeps the bytes of every schema ever released.

mod batch_v1;
mod event_v1;
mod node_v1;
mod numbers_v1;
mod order_v1;
mod payment_v1;

use bincode::{
    config::{Configuration, Fixint, Limit, LittleEndian},
    enc::write::Writer,
    error::EncodeError,
};
use fulgurite_core::{Event, Order, batch::Summary, payment::Payment, standing::Standing};

use batch_v1::SummaryV1;
use bincode::{BorrowDecode, Encode};
use event_v1::EventV1;
use node_v1::StandingV1;
use order_v1::OrderV1;
use payment_v1::PaymentV1;

/// The schema that this program writes, and the newest that it reads.
pub const SCHEMA: u16 = 1;

/// The most bytes that are decoded at once, in memory; also the most that a record may hold.
///
/// A record ends after the first event that brings it to 1 MiB, and one event can be as large as
/// a batch of 100,000 refused rows with their messages.
pub const SIZE_MAX: usize = 256 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<SIZE_MAX>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<SIZE_MAX>();

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer program wrote it.
    #[error("schema {0} is newer than this program knows")]
    NewerSchema(u16),
    /// A newer program removed old records.
    #[error("the anchor of retention has format {0}, which is newer than this program knows")]
    NewerAnchor(u8),
    /// No program wrote it.
    #[error("schema 0 does not exist")]
    NoSchema,
    /// The bytes are no events of this schema.
    #[error("the bytes do not decode: {0}")]
    Malformed(String),
    /// More bytes than events.
    #[error("{0} bytes are left over")]
    TrailingBytes(usize),
    /// A number that names nothing.
    #[error("{0} has no such value")]
    UnknownValue(&'static str),
}

/// Appends the bytes of `event`, in the schema [`SCHEMA`].
pub fn encode_event(event: &Event, bytes: &mut Vec<u8>) {
    encode(EventV1::from(event), bytes);
}

/// Decodes exactly `count` events of the given schema. An error when the bytes hold fewer or
/// more.
pub fn decode_events(schema: u16, bytes: &[u8], count: u32) -> Result<Vec<Event>, DecodeError> {
    check_schema(schema)?;
    // An event takes at least its tag: a wrong count cannot reserve more than the bytes are long.
    let mut events = Vec::with_capacity((count as usize).min(bytes.len()));
    let mut rest = bytes;
    for _ in 0..count {
        let (event, used) = decode_one::<EventV1<'_>>(rest)?;
        events.push(Event::try_from(event)?);
        rest = &rest[used..];
    }
    if rest.is_empty() { Ok(events) } else { Err(DecodeError::TrailingBytes(rest.len())) }
}

/// A payment as a row of a view or a snapshot: the schema, then the payment.
pub fn encode_payment(payment: &Payment, bytes: &mut Vec<u8>) {
    bytes.extend(SCHEMA.to_le_bytes());
    encode(PaymentV1::from(payment), bytes);
}

/// Reverses [`encode_payment`].
pub fn decode_payment(bytes: &[u8]) -> Result<Payment, DecodeError> {
    decode_row::<PaymentV1<'_>>(bytes)?.try_into()
}

/// The version alone of what [`encode_payment`] wrote: where every schema so far has it.
pub fn payment_version(bytes: &[u8]) -> Result<u64, DecodeError> {
    let version = bytes.get(2..10).and_then(|bytes| bytes.try_into().ok());
    version.map(u64::from_le_bytes).ok_or_else(|| DecodeError::Malformed("too short".to_owned()))
}

/// A batch without its payments as a row: the schema, then the batch.
pub fn encode_summary(summary: &Summary, bytes: &mut Vec<u8>) {
    bytes.extend(SCHEMA.to_le_bytes());
    encode(SummaryV1::from(summary), bytes);
}

/// Reverses [`encode_summary`].
pub fn decode_summary(bytes: &[u8]) -> Result<Summary, DecodeError> {
    decode_row::<SummaryV1<'_>>(bytes)?.try_into()
}

/// An order of an upload as a row: the schema, the row's number, then the order.
pub fn encode_order(row: u32, order: &Order, bytes: &mut Vec<u8>) {
    bytes.extend(SCHEMA.to_le_bytes());
    encode((row, OrderV1::from(order)), bytes);
}

/// Reverses [`encode_order`].
pub fn decode_order(bytes: &[u8]) -> Result<(u32, Order), DecodeError> {
    let (row, order) = decode_row::<(u32, OrderV1<'_>)>(bytes)?;
    Ok((row, order.try_into()?))
}

/// How a node stands as a row of a snapshot: the schema, its name, then the rest.
pub fn encode_node(name: &str, standing: &Standing, bytes: &mut Vec<u8>) {
    bytes.extend(SCHEMA.to_le_bytes());
    encode((name, StandingV1::from(standing)), bytes);
}

/// Reverses [`encode_node`].
pub fn decode_node(bytes: &[u8]) -> Result<(&str, Standing), DecodeError> {
    let (name, standing) = decode_row::<(&str, StandingV1<'_>)>(bytes)?;
    Ok((name, standing.try_into()?))
}

fn check_schema(schema: u16) -> Result<(), DecodeError> {
    match schema {
        0 => Err(DecodeError::NoSchema),
        SCHEMA => Ok(()),
        newer => Err(DecodeError::NewerSchema(newer)),
    }
}

fn encode(value: impl Encode, bytes: &mut Vec<u8>) {
    bincode::encode_into_writer(value, Bytes(bytes), CONFIG)
        .expect("writing to memory cannot fail, and every wire type can be encoded");
}

fn decode_one<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<(T, usize), DecodeError> {
    bincode::borrow_decode_from_slice(bytes, CONFIG)
        .map_err(|error| DecodeError::Malformed(error.to_string()))
}

fn decode_row<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let Some((schema, row)) = bytes.split_first_chunk::<2>() else {
        return Err(DecodeError::Malformed("no schema number".to_owned()));
    };
    check_schema(u16::from_le_bytes(*schema))?;
    let (value, used) = decode_one(row)?;
    if used == row.len() { Ok(value) } else { Err(DecodeError::TrailingBytes(row.len() - used)) }
}

/// Appends to a vector.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Writer for Bytes<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
