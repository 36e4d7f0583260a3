//! lnd's updates of a payment, as far as they are used: two come for each payment, and most of them
//! (the invoice, the hops of the route with their keys) would be copied for nothing.

use fulgurite_core::{
    id::{PaymentHash, Preimage},
    port::{PaymentReport, PaymentStatus},
    time::UnixMs,
};
use fulgurite_proto::lnrpc::{htlc_attempt::HtlcStatus, payment::PaymentStatus as Status};

use crate::{
    convert::{hex32, msat},
    meaning::failure_reason,
};

/// The fields of `lnrpc.Payment` that are read; the others are skipped.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Told {
    /// In hex, like the preimage. Not `string`: what is not hex is noticed anyway.
    #[prost(bytes = "vec", tag = "1")]
    payment_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    payment_preimage: Vec<u8>,
    /// Without fees.
    #[prost(int64, tag = "8")]
    value_msat: i64,
    #[prost(int32, tag = "10")]
    status: i32,
    #[prost(int64, tag = "12")]
    fee_msat: i64,
    /// In nanoseconds since 1970.
    #[prost(int64, tag = "13")]
    creation_time_ns: i64,
    #[prost(message, repeated, tag = "14")]
    htlcs: Vec<Htlc>,
    #[prost(int32, tag = "16")]
    failure_reason: i32,
}

/// Of `lnrpc.HTLCAttempt`.
#[derive(Clone, PartialEq, prost::Message)]
struct Htlc {
    #[prost(int32, tag = "1")]
    status: i32,
    #[prost(message, optional, tag = "2")]
    route: Option<Route>,
}

/// Of `lnrpc.Route`.
#[derive(Clone, PartialEq, prost::Message)]
struct Route {
    #[prost(uint32, tag = "1")]
    total_time_lock: u32,
    #[prost(message, repeated, tag = "4")]
    hops: Vec<Hop>,
}

/// Of `lnrpc.Hop`.
#[derive(Clone, PartialEq, prost::Message)]
struct Hop {
    #[prost(uint64, tag = "1")]
    chan_id: u64,
}

impl Told {
    /// Whether the payment has this hash.
    pub fn has_hash(&self, hash: PaymentHash) -> bool {
        hex32(&self.payment_hash) == Some(hash.0)
    }

    /// The port's report of it.
    pub fn report(&self) -> PaymentReport {
        let in_flight = self.htlcs.iter().filter(|htlc| htlc.status == HtlcStatus::InFlight as i32);
        let expiries = in_flight.clone().filter_map(|htlc| htlc.route.as_ref());
        PaymentReport {
            status: self.status(),
            amount: msat(self.value_msat),
            first_hops: in_flight.map(Htlc::first_hop).collect(),
            htlc_expiry_height: expiries.map(|route| route.total_time_lock).max().unwrap_or(0),
            created: UnixMs(self.creation_time_ns / 1_000_000),
        }
    }

    #[expect(deprecated, reason = "lnd's UNKNOWN, which it does not send any more")]
    fn status(&self) -> PaymentStatus {
        match Status::try_from(self.status) {
            Ok(Status::Succeeded) => PaymentStatus::Succeeded {
                preimage: Preimage(hex32(&self.payment_preimage).unwrap_or_default()),
                fee_paid: msat(self.fee_msat),
            },
            Ok(Status::Failed) => PaymentStatus::Failed(failure_reason(self.failure_reason)),
            // A state that we do not know is not final: go on watching.
            Ok(Status::InFlight | Status::Initiated | Status::Unknown) | Err(_) => {
                PaymentStatus::InFlight
            }
        }
    }
}

impl Htlc {
    /// The channel by which it left; 0 when it is not said.
    fn first_hop(&self) -> u64 {
        let first = self.route.as_ref().and_then(|route| route.hops.first());
        first.map_or(0, |hop| hop.chan_id)
    }
}

#[cfg(test)]
mod tests {
    use fulgurite_core::{amount::Msat, port::FailureReason};
    use fulgurite_proto::lnrpc;
    use prost::Message;

    use super::*;
    use crate::convert::is_final;

    fn told(payment: lnrpc::Payment) -> Told {
        Told::decode(&*payment.encode_to_vec()).expect("fields are skipped")
    }

    fn htlc(status: HtlcStatus, total_time_lock: u32) -> lnrpc::HtlcAttempt {
        // One of them leaves by a channel that is known.
        let hop = lnrpc::Hop { chan_id: 42, ..Default::default() };
        let hops = if total_time_lock == 850 { vec![hop] } else { Vec::new() };
        let route = lnrpc::Route { total_time_lock, hops, ..Default::default() };
        lnrpc::HtlcAttempt { status: status as i32, route: Some(route), ..Default::default() }
    }

    fn payment(status: i32) -> lnrpc::Payment {
        lnrpc::Payment {
            payment_hash: "ab".repeat(32),
            payment_preimage: "07".repeat(32),
            value_msat: 5_000,
            fee_msat: 12,
            status,
            creation_time_ns: 1_700_000_000_123_456_789,
            failure_reason: 2,
            htlcs: vec![
                htlc(HtlcStatus::Failed, 900),
                htlc(HtlcStatus::InFlight, 800),
                htlc(HtlcStatus::InFlight, 850),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn only_succeeded_and_failed_are_final() {
        let succeeded =
            PaymentStatus::Succeeded { preimage: Preimage([7; 32]), fee_paid: msat(12) };
        let expected = [
            (0, PaymentStatus::InFlight),
            (1, PaymentStatus::InFlight),
            (2, succeeded),
            (3, PaymentStatus::Failed(FailureReason::NoRoute)),
            (4, PaymentStatus::InFlight),
            (99, PaymentStatus::InFlight),
        ];
        for (number, status) in expected {
            assert_eq!(told(payment(number)).report().status, status, "{number}");
            assert_eq!(is_final(status), number == 2 || number == 3);
        }
    }

    #[test]
    fn a_report_counts_only_htlcs_in_flight() {
        let report = told(payment(1)).report();
        assert_eq!((report.first_hops, report.htlc_expiry_height), (vec![0, 42], 850));
        assert_eq!(report.amount, msat(5_000));
        assert_eq!(report.created, UnixMs(1_700_000_000_123));
    }

    #[test]
    fn what_cannot_be_is_made_a_contradiction() {
        let impossible = lnrpc::Payment {
            value_msat: -1,
            fee_msat: i64::MAX,
            payment_preimage: "07".to_owned(),
            ..payment(2)
        };
        let report = told(impossible).report();
        let status = PaymentStatus::Succeeded { preimage: Preimage([0; 32]), fee_paid: Msat::MAX };
        assert_eq!((report.status, report.amount), (status, Msat::MAX));
    }

    #[test]
    fn a_payment_of_another_hash_is_noticed() {
        assert!(told(payment(1)).has_hash(PaymentHash([0xab; 32])));
        assert!(!told(payment(1)).has_hash(PaymentHash([0xac; 32])));
        assert!(!told(lnrpc::Payment::default()).has_hash(PaymentHash([0; 32])));
    }
}
