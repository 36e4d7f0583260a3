//! From lnd's messages to the port's reports, and back.
//!
//! What a node says can be impossible (rule E14). Amounts that cannot be become [`Msat::MAX`],
//! which no order allows, and a preimage that cannot be becomes zeros, which settle nothing: the
//! rules see a contradiction and decide.

use std::sync::Arc;

use fulgurite_core::{
    amount::Msat,
    id::{PaymentHash, Preimage},
    port::{ChannelInfo, NodeInfo, PaymentReport, PaymentStatus, SendPayment},
    time::UnixMs,
};
use fulgurite_proto::{
    lnrpc::{self, htlc_attempt::HtlcStatus, payment::PaymentStatus as Status},
    routerrpc,
};

use crate::meaning::failure_reason;

/// The port's report of a payment.
pub fn payment_report(payment: &lnrpc::Payment) -> PaymentReport {
    let in_flight = payment.htlcs.iter().filter(|htlc| htlc.status == HtlcStatus::InFlight as i32);
    let expiries = in_flight.clone().filter_map(|htlc| htlc.route.as_ref());
    PaymentReport {
        status: payment_status(payment),
        amount: msat(payment.value_msat),
        first_hops: in_flight.map(first_hop).collect(),
        htlc_expiry_height: expiries.map(|route| route.total_time_lock).max().unwrap_or(0),
        created: UnixMs(payment.creation_time_ns / 1_000_000),
    }
}

/// The channel by which an HTLC left; 0 when it is not said.
fn first_hop(htlc: &lnrpc::HtlcAttempt) -> u64 {
    let first = htlc.route.as_ref().and_then(|route| route.hops.first());
    first.map_or(0, |hop| hop.chan_id)
}

#[allow(deprecated)] // lnd's UNKNOWN, which it does not send any more.
fn payment_status(payment: &lnrpc::Payment) -> PaymentStatus {
    match Status::try_from(payment.status) {
        Ok(Status::Succeeded) => PaymentStatus::Succeeded {
            preimage: Preimage(hex32(&payment.payment_preimage).unwrap_or_default()),
            fee_paid: msat(payment.fee_msat),
        },
        Ok(Status::Failed) => PaymentStatus::Failed(failure_reason(payment.failure_reason)),
        // A state that we do not know is not final: go on watching.
        Ok(Status::InFlight | Status::Initiated | Status::Unknown) | Err(_) => {
            PaymentStatus::InFlight
        }
    }
}

/// Whether nothing can follow this status.
pub fn is_final(status: PaymentStatus) -> bool {
    match status {
        PaymentStatus::InFlight => false,
        PaymentStatus::Succeeded { .. } | PaymentStatus::Failed(_) => true,
    }
}

/// Whether the payment has this hash.
pub fn has_hash(payment: &lnrpc::Payment, hash: PaymentHash) -> bool {
    hex32(&payment.payment_hash) == Some(hash.0)
}

/// lnd's request for a send of the port.
pub fn send_request(send: SendPayment) -> routerrpc::SendPaymentRequest {
    routerrpc::SendPaymentRequest {
        payment_hash: Vec::new(),
        payment_request: send.invoice.as_ref().to_owned(),
        timeout_seconds: i32::try_from(send.timeout_seconds).unwrap_or(i32::MAX),
        cltv_limit: i32::try_from(send.cltv_limit).unwrap_or(i32::MAX),
        amt_msat: send.amount.map_or(0, signed),
        fee_limit_msat: signed(send.fee_limit),
        allow_self_payment: false,
        max_parts: send.max_parts,
        no_inflight_updates: false,
        outgoing_chan_ids: send.outgoing_chan_ids,
        cancelable: false,
    }
}

/// The port's view of a channel.
pub fn channel_info(channel: lnrpc::Channel) -> ChannelInfo {
    let ours = channel.local_constraints.unwrap_or_default();
    let outgoing = channel.pending_htlcs.iter().filter(|htlc| !htlc.incoming);
    // A hash that cannot be is nobody's; the HTLC takes its slot all the same.
    let hash = |htlc: &lnrpc::Htlc| {
        PaymentHash(<[u8; 32]>::try_from(&*htlc.hash_lock).unwrap_or_default())
    };
    ChannelInfo {
        short_channel_id: channel.chan_id,
        remote_pubkey: Arc::from(channel.remote_pubkey),
        active: channel.active,
        capacity: sat(channel.capacity),
        local_balance: sat(channel.local_balance),
        reserve: Msat::from_sat_clamped(ours.chan_reserve_sat),
        commit_fee: if channel.initiator { sat(channel.commit_fee) } else { Msat::ZERO },
        max_accepted_htlcs: ours.max_accepted_htlcs,
        max_in_flight: Msat::new(ours.max_pending_amt_msat).unwrap_or(Msat::MAX),
        dust_limit: Msat::from_sat_clamped(ours.dust_limit_sat),
        outgoing: outgoing.map(hash).collect(),
    }
}

/// The port's view of a node; `None` when its identity is not a key.
pub fn node_info(info: &lnrpc::GetInfoResponse, clock_offset_ms: i64) -> Option<NodeInfo> {
    let identity_pubkey = hex::decode(&info.identity_pubkey).ok()?;
    (identity_pubkey.len() == 33).then(|| NodeInfo {
        identity_pubkey,
        alias: info.alias.clone(),
        version: info.version.clone(),
        block_height: info.block_height,
        clock_offset_ms,
    })
}

fn msat(msat: i64) -> Msat {
    u64::try_from(msat).ok().and_then(|msat| Msat::new(msat).ok()).unwrap_or(Msat::MAX)
}

/// A balance; a negative one, which lnd does not send, is nothing to spend.
fn sat(sat: i64) -> Msat {
    Msat::from_sat_clamped(u64::try_from(sat).unwrap_or(0))
}

fn signed(amount: Msat) -> i64 {
    i64::try_from(amount.get()).expect("21 million bitcoin in msat are below 2^63")
}

/// 32 bytes in hex; `None` for anything else.
pub fn hex32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulgurite_core::port::FailureReason;

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
            assert_eq!(payment_report(&payment(number)).status, status, "{number}");
            assert_eq!(is_final(status), number == 2 || number == 3);
        }
    }

    #[test]
    fn a_report_counts_only_htlcs_in_flight() {
        let report = payment_report(&payment(1));
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
        let report = payment_report(&impossible);
        let status = PaymentStatus::Succeeded { preimage: Preimage([0; 32]), fee_paid: Msat::MAX };
        assert_eq!((report.status, report.amount), (status, Msat::MAX));
    }

    #[test]
    fn a_payment_of_another_hash_is_noticed() {
        assert!(has_hash(&payment(1), PaymentHash([0xab; 32])));
        assert!(!has_hash(&payment(1), PaymentHash([0xac; 32])));
        assert!(!has_hash(&lnrpc::Payment::default(), PaymentHash([0; 32])));
    }

    #[test]
    fn only_the_opener_pays_the_commitment_fee() {
        let mut channel = lnrpc::Channel {
            chan_id: 42,
            capacity: 1_000,
            local_balance: -1,
            commit_fee: 9,
            initiator: true,
            pending_htlcs: vec![
                lnrpc::Htlc { incoming: true, ..Default::default() },
                lnrpc::Htlc { hash_lock: vec![5; 32], ..Default::default() },
            ],
            ..Default::default()
        };
        let info = channel_info(channel.clone());
        assert_eq!((info.commit_fee, &*info.outgoing), (sat(9), &[PaymentHash([5; 32])][..]));
        assert_eq!((info.capacity, info.local_balance), (sat(1_000), Msat::ZERO));
        channel.initiator = false;
        assert_eq!(channel_info(channel).commit_fee, Msat::ZERO);
    }
}
