//! What is encoded is decoded, and nothing else is.

use fulgurite_core::Event;
use proptest::prelude::*;

use super::history::History;
use crate::codec::{self, DecodeError};

/// The events of a random history.
fn events(seed: u64) -> (History, Vec<Event>) {
    let mut history = History::new(seed);
    let mut events = history.steps(60);
    // A rare history begins with sixty steps that do nothing.
    while events.is_empty() {
        events = history.steps(60);
    }
    (history, events)
}

fn encode(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    events.iter().for_each(|event| codec::encode_event(event, &mut bytes));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_decode_as_they_were(seed: u64) {
        let (_, events) = events(seed);
        let bytes = encode(&events);
        let count = events.len() as u32;
        prop_assert_eq!(codec::decode_events(1, &bytes, count), Ok(events));
        prop_assert!(codec::decode_events(1, &bytes, count + 1).is_err());
        prop_assert!(codec::decode_events(1, &bytes, count - 1).is_err());
    }

    #[test]
    fn rows_decode_as_they_were(seed: u64) {
        let (history, _) = events(seed);
        for batch in history.book.batches.values() {
            let mut bytes = Vec::new();
            codec::encode_summary(&batch.summary, &mut bytes);
            prop_assert_eq!(codec::decode_summary(&bytes), Ok(batch.summary.clone()));
            for payment in &batch.payments {
                bytes.clear();
                codec::encode_payment(payment, &mut bytes);
                prop_assert_eq!(codec::payment_version(&bytes), Ok(payment.version));
                prop_assert_eq!(codec::decode_payment(&bytes), Ok(payment.clone()));
                bytes.push(0);
                prop_assert_eq!(codec::decode_payment(&bytes), Err(DecodeError::TrailingBytes(1)));
                bytes.clear();
                codec::encode_order(9, &payment.order, &mut bytes);
                prop_assert_eq!(codec::decode_order(&bytes), Ok((9, (*payment.order).clone())));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_reserve_much(bytes: Vec<u8>, count in 1..u32::MAX) {
        let _ = codec::decode_events(1, &bytes, count);
        let _ = codec::decode_payment(&bytes);
        let _ = codec::decode_summary(&bytes);
        let _ = codec::decode_order(&bytes);
    }

    #[test]
    fn damaged_events_never_panic(seed: u64, at: prop::sample::Index, value: u8) {
        let (_, events) = events(seed);
        let mut bytes = encode(&events);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = codec::decode_events(1, &bytes, events.len() as u32);
    }
}

#[test]
fn other_schemas_are_refused_by_number() {
    assert_eq!(codec::decode_events(2, &[], 0), Err(DecodeError::NewerSchema(2)));
    assert_eq!(codec::decode_events(0, &[], 0), Err(DecodeError::NoSchema));
    assert_eq!(codec::decode_payment(&[2, 0, 1]), Err(DecodeError::NewerSchema(2)));
}

#[test]
fn a_hostile_length_is_refused_without_reserving_it() {
    // `OrdersAdded` with 2^60 orders.
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend([0; 16]);
    bytes.extend((1_u64 << 60).to_le_bytes());
    assert!(matches!(codec::decode_events(1, &bytes, 1), Err(DecodeError::Malformed(_))));
}
