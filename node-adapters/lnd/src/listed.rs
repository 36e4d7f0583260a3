//! lnd's list of payments, as far as it is compared with the journal: a page of hundreds has
//! megabytes of HTLCs, and only what is named here is decoded on the thread of the actors.

use fulgurite_core::{
    id::PaymentHash,
    port::{ListedPayment, ListedState},
    time::UnixMs,
};
use fulgurite_proto::lnrpc::payment::PaymentStatus as Status;

use crate::convert::hex32;

/// The fields of `lnrpc.ListPaymentsResponse` that are read; the others are skipped.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Page {
    /// The payments.
    #[prost(message, repeated, tag = "1")]
    payments: Vec<Listed>,
}

/// Of `lnrpc.Payment`.
#[derive(Clone, PartialEq, prost::Message)]
struct Listed {
    /// In hex.
    #[prost(bytes = "vec", tag = "1")]
    payment_hash: Vec<u8>,
    /// How far it is.
    #[prost(int32, tag = "10")]
    status: i32,
    /// When lnd created it, in nanoseconds since 1970.
    #[prost(int64, tag = "13")]
    creation_time_ns: i64,
    /// Its number in the order of creation.
    #[prost(uint64, tag = "15")]
    payment_index: u64,
}

impl Page {
    /// The payments; `None` when one of them has no hash that can be.
    pub fn payments(&self) -> Option<Vec<ListedPayment>> {
        let listed = |payment: &Listed| {
            Some(ListedPayment {
                index: payment.payment_index,
                payment_hash: PaymentHash(hex32(&payment.payment_hash)?),
                state: match Status::try_from(payment.status) {
                    Ok(Status::Succeeded) => ListedState::Succeeded,
                    Ok(Status::Failed) => ListedState::Failed,
                    // A state that we do not know is not final.
                    Ok(_) | Err(_) => ListedState::InFlight,
                },
                created: UnixMs(payment.creation_time_ns / 1_000_000),
            })
        };
        self.payments.iter().map(listed).collect()
    }
}

#[cfg(test)]
mod tests {
    use fulgurite_proto::lnrpc;
    use prost::Message;

    use super::*;

    fn payment(index: u64, status: i32) -> lnrpc::Payment {
        let hop = lnrpc::Hop { chan_id: 42, ..Default::default() };
        let route = lnrpc::Route { hops: vec![hop; 3], total_time_lock: 800, ..Default::default() };
        let htlc = lnrpc::HtlcAttempt { route: Some(route), attempt_id: 9, ..Default::default() };
        lnrpc::Payment {
            payment_hash: "ab".repeat(32),
            payment_preimage: "07".repeat(32),
            payment_request: "lnbcrt1".to_owned(),
            value_msat: 5_000,
            fee_msat: 12,
            status,
            creation_time_ns: 1_700_000_000_123_456_789,
            htlcs: vec![htlc; 5],
            payment_index: index,
            failure_reason: 2,
            ..Default::default()
        }
    }

    fn page(payments: Vec<lnrpc::Payment>) -> Page {
        let whole =
            lnrpc::ListPaymentsResponse { payments, first_index_offset: 3, last_index_offset: 7 };
        Page::decode(&*whole.encode_to_vec()).expect("fields are skipped")
    }

    #[test]
    fn of_a_page_only_what_is_compared_is_read() {
        let states = [
            (1, ListedState::InFlight),
            (2, ListedState::Succeeded),
            (3, ListedState::Failed),
            (4, ListedState::InFlight),
            // One that lnd does not have yet.
            (77, ListedState::InFlight),
        ];
        let payments = (3..).zip(states).map(|(index, (status, _))| payment(index, status));
        let expected = (3..).zip(states).map(|(index, (_, state))| ListedPayment {
            index,
            payment_hash: PaymentHash([0xab; 32]),
            state,
            created: UnixMs(1_700_000_000_123),
        });
        assert_eq!(page(payments.collect()).payments(), Some(expected.collect()));
    }

    #[test]
    fn a_payment_without_a_hash_makes_the_page_useless() {
        let nameless = lnrpc::Payment { payment_hash: "ab".to_owned(), ..payment(1, 2) };
        assert_eq!(page(vec![payment(2, 2), nameless]).payments(), None);
    }
}
