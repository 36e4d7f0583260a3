//! From lnd's messages to the port's reports, and back.
//!
//! What a node says can be impossible (rule E14). Amounts that cannot be become [`Msat::MAX`],
//! which no order allows, and a preimage that cannot be becomes zeros, which settle nothing: the
//! rules see a contradiction and decide.

use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use fulgurite_core::{
    amount::Msat,
    id::PaymentHash,
    port::{ChannelInfo, NodeInfo, PaymentStatus, SendPayment},
};
use fulgurite_proto::{lnrpc, routerrpc};

/// Whether nothing can follow this status.
pub fn is_final(status: PaymentStatus) -> bool {
    match status {
        PaymentStatus::InFlight => false,
        PaymentStatus::Succeeded { .. } | PaymentStatus::Failed(_) => true,
    }
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

pub fn msat(msat: i64) -> Msat {
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
pub fn hex32(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    // Its buffer must have the length that is decoded.
    (text.len() == 2 * bytes.len()).then_some(())?;
    HEXLOWER_PERMISSIVE.decode_mut(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

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
