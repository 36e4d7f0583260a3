//! Every call but the payments': the node itself, its channels, its books, its macaroons.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::BytesMut;
use fulgurite_proto::lnrpc;
use http::Response;

use crate::auth::Method;
use crate::bolt11;
use crate::channel::SLOTS;
use crate::decide::Cut;
use crate::feed::Feed;
use crate::invoices;
use crate::macaroon::{Permission, bake};
use crate::message::{View, framed, put_message, write_payment};
use crate::node::{BLOCK_HEIGHT, Node};
use crate::payment::Status;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::rpc::{Call, CallError, alive};
use crate::wire::{Reply, answer as answered, live, read, unary};

/// lnd's default for `max_payments`.
const LIST_MAX: u64 = 100;

/// How often a call that is kept waiting looks whether it may go on.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const ACTIVE: i32 = lnrpc::WalletState::ServerActive as i32;

/// Answers a call that is no payment.
pub(crate) async fn answer(method: Method, call: Call) -> Result<Response<Reply>, CallError> {
    let Call { node: cell, body, deadline } = call;
    match method {
        Method::SendPaymentV2 | Method::TrackPaymentV2 => Err(None),
        Method::GetState => {
            let lnrpc::GetStateRequest {} = read(body, deadline).await?;
            Ok(unary(&lnrpc::GetStateResponse { state: ACTIVE }))
        }
        Method::SubscribeState => {
            let lnrpc::SubscribeStateRequest {} = read(body, deadline).await?;
            Ok(live(active_feed(), deadline))
        }
        Method::GetInfo => {
            let lnrpc::GetInfoRequest {} = read(body, deadline).await?;
            Ok(unary(&info(&cell.borrow())))
        }
        Method::ListChannels => {
            let request: lnrpc::ListChannelsRequest = read(body, deadline).await?;
            let mut channels = cell.borrow().channel_list();
            channels.retain(|channel| channel.active || !request.active_only);
            Ok(unary(&lnrpc::ListChannelsResponse { channels }))
        }
        Method::PendingChannels => {
            let lnrpc::PendingChannelsRequest {} = read(body, deadline).await?;
            Ok(unary(&cell.borrow().pending_channels()))
        }
        Method::ClosedChannels => {
            let lnrpc::ClosedChannelsRequest {} = read(body, deadline).await?;
            Ok(unary(&cell.borrow().closed_channels()))
        }
        Method::SubscribeChannelEvents => {
            let lnrpc::ChannelEventSubscription {} = read(body, deadline).await?;
            let feed = Feed::new(false, Cut::Never);
            cell.borrow_mut().channel_feeds.push(Rc::clone(&feed));
            Ok(live(feed, deadline))
        }
        Method::DecodePayReq => {
            let request: lnrpc::PayReqString = read(body, deadline).await?;
            decode(&request.pay_req).map(|decoded| unary(&decoded)).map_err(Some)
        }
        Method::ListPayments => list_payments(&cell, read(body, deadline).await?).await,
        Method::BakeMacaroon => {
            let request: lnrpc::BakeMacaroonRequest = read(body, deadline).await?;
            bake_macaroon(&mut cell.borrow_mut(), &request).map(|baked| unary(&baked)).map_err(Some)
        }
        Method::ListMacaroonIds => {
            let lnrpc::ListMacaroonIDsRequest {} = read(body, deadline).await?;
            let root_key_ids = cell.borrow().guard.root_key_ids().collect();
            Ok(unary(&lnrpc::ListMacaroonIDsResponse { root_key_ids }))
        }
        Method::DeleteMacaroonId => {
            let request: lnrpc::DeleteMacaroonIdRequest = read(body, deadline).await?;
            let mut node = cell.borrow_mut();
            alive(&node)?;
            let deleted = delete_root_key(&mut node, request.root_key_id).map_err(Some)?;
            Ok(unary(&lnrpc::DeleteMacaroonIdResponse { deleted }))
        }
        Method::AddInvoice
        | Method::LookupInvoice
        | Method::AddHoldInvoice
        | Method::SettleInvoice
        | Method::CancelInvoice
        | Method::LookupInvoiceV2 => {
            invoices::answer(method, Call { node: cell, body, deadline }).await
        }
    }
}

/// Keeps whoever asks waiting while the node hides its payments.
async fn list_payments(
    node: &RefCell<Node>,
    request: lnrpc::ListPaymentsRequest,
) -> Result<Response<Reply>, CallError> {
    while node.borrow().knobs.hides_payments {
        tokio::time::sleep(LOOK_AGAIN).await;
        alive(&node.borrow())?;
    }
    Ok(answered(Reply::Whole(list(&node.borrow(), &request).freeze())))
}

/// Says that the node is active, once.
fn active_feed() -> Rc<Feed> {
    let feed = Feed::new(false, Cut::Never);
    let message = lnrpc::SubscribeStateResponse { state: ACTIVE };
    feed.send(false, |out| framed(out, |out| put(out, &message)));
    feed
}

/// Encodes into a buffer that grows.
pub(crate) fn put(out: &mut BytesMut, message: &impl prost::Message) {
    message.encode_raw(out);
}

fn info(node: &Node) -> lnrpc::GetInfoResponse {
    let channels = node.channels.len() as u32;
    let (active, inactive) = if node.knobs.peers_offline { (0, channels) } else { (channels, 0) };
    lnrpc::GetInfoResponse {
        identity_pubkey: node.identity.pubkey_hex.clone(),
        alias: node.identity.name.clone(),
        num_active_channels: active,
        num_inactive_channels: inactive,
        num_peers: u32::from(active > 0),
        block_height: BLOCK_HEIGHT,
        block_hash: "00".repeat(32),
        synced_to_chain: true,
        best_header_timestamp: node.now_ns() / 1_000_000_000,
        version: "0.21.2-beta commit=simulated".into(),
        chains: vec![lnrpc::Chain { network: "regtest".into(), ..lnrpc::Chain::default() }],
        synced_to_graph: true,
        ..lnrpc::GetInfoResponse::default()
    }
}

fn decode(invoice: &str) -> Result<lnrpc::PayReq, Refusal> {
    let parsed = bolt11::parse(invoice).map_err(Refusal::unknown)?;
    let amount_msat = parsed.facts.amount_msat.unwrap_or(0) as i64;
    Ok(lnrpc::PayReq {
        destination: hex::encode(parsed.payee),
        payment_hash: hex::encode(parsed.facts.payment_hash),
        num_satoshis: amount_msat / 1_000,
        timestamp: parsed.facts.timestamp as i64,
        expiry: parsed.facts.expiry_secs as i64,
        description: parsed.description,
        cltv_expiry: parsed.facts.cltv_expiry as i64,
        payment_addr: parsed.facts.payment_secret.to_vec(),
        num_msat: amount_msat,
    })
}

impl Node {
    /// The channels as lnd lists them.
    pub fn channel_list(&self) -> Vec<lnrpc::Channel> {
        let mut pending = self.pending_htlcs();
        let open = self.channels.iter().enumerate().filter(|(number, _)| self.is_open(*number));
        let list = open.map(|(number, channel)| {
            let htlcs = pending.remove(&(number as u16)).unwrap_or_default();
            let spent_msat = channel.local_msat + channel.in_flight_msat;
            let constraints = lnrpc::ChannelConstraints {
                csv_delay: 144,
                chan_reserve_sat: channel.reserve_msat() / 1_000,
                dust_limit_sat: 354,
                max_pending_amt_msat: channel.capacity_msat,
                min_htlc_msat: 1,
                max_accepted_htlcs: SLOTS,
            };
            lnrpc::Channel {
                active: !self.knobs.peers_offline,
                remote_pubkey: self.identity.peer_hex.clone(),
                channel_point: self.channel_point(number),
                chan_id: channel.chan_id,
                capacity: (channel.capacity_msat / 1_000) as i64,
                local_balance: (channel.local_msat / 1_000) as i64,
                remote_balance: (channel.capacity_msat.saturating_sub(spent_msat) / 1_000) as i64,
                unsettled_balance: (channel.in_flight_msat / 1_000) as i64,
                pending_htlcs: htlcs.into_iter().map(pending_htlc).collect(),
                initiator: true,
                local_constraints: Some(constraints),
                remote_constraints: Some(constraints),
                ..lnrpc::Channel::default()
            }
        });
        list.collect()
    }

    /// The funding output of the channel with this index.
    pub fn channel_point(&self, number: usize) -> String {
        format!("{}:{number}", self.funding_txid())
    }

    fn funding_txid(&self) -> String {
        hex::encode(&self.identity.pubkey[1..])
    }

    /// Tells who follows the channels that all of them went down or came up.
    pub fn tell_channel_followers(&mut self) {
        use lnrpc::channel_event_update::{Channel, UpdateType};
        use lnrpc::channel_point::FundingTxid;
        self.channel_feeds.retain(|feed| Rc::strong_count(feed) > 1);
        let (txid, offline) = (self.funding_txid(), self.knobs.peers_offline);
        for number in 0..self.channels.len() as u32 {
            let point = lnrpc::ChannelPoint {
                output_index: number,
                funding_txid: Some(FundingTxid::FundingTxidStr(txid.clone())),
            };
            let (channel, kind) = if offline {
                (Channel::InactiveChannel(point), UpdateType::InactiveChannel)
            } else {
                (Channel::ActiveChannel(point), UpdateType::ActiveChannel)
            };
            let update = lnrpc::ChannelEventUpdate { channel: Some(channel), r#type: kind as i32 };
            for feed in &self.channel_feeds {
                feed.send(false, |out| framed(out, |out| put(out, &update)));
            }
        }
    }
}

fn pending_htlc((payment_hash, amount_msat): ([u8; 32], u64)) -> lnrpc::Htlc {
    lnrpc::Htlc {
        amount: (amount_msat / 1_000) as i64,
        hash_lock: payment_hash.to_vec(),
        expiration_height: BLOCK_HEIGHT + 83,
        ..lnrpc::Htlc::default()
    }
}

/// The framed `ListPaymentsResponse`: a page of the book, forward behind the offset or backward
/// before it, oldest first either way.
fn list(node: &Node, request: &lnrpc::ListPaymentsRequest) -> BytesMut {
    let (start, end) = (request.creation_date_start as i64, request.creation_date_end as i64);
    let all = node.payments.all();
    let wanted = |slot: &usize| {
        let payment = &all[*slot];
        let created = payment.created_ns / 1_000_000_000;
        !payment.superseded
            && (request.include_incomplete || payment.status == Status::Succeeded)
            && (start == 0 || created >= start)
            && (end == 0 || created <= end)
    };
    let max = if request.max_payments == 0 { LIST_MAX } else { request.max_payments };
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let offset = usize::try_from(request.index_offset).unwrap_or(usize::MAX).min(all.len());
    let slots: Vec<usize> = if request.reversed {
        let before = if offset == 0 { all.len() } else { offset - 1 };
        let mut slots: Vec<usize> = (0..before).rev().filter(wanted).take(max).collect();
        slots.reverse();
        slots
    } else {
        (offset..all.len()).filter(wanted).take(max).collect()
    };
    let mut out = BytesMut::new();
    framed(&mut out, |out| {
        for slot in &slots {
            let payment = &all[*slot];
            let (at, length) = payment.invoice_at;
            let invoice = node.book.read_back(at, usize::from(length));
            put_message(out, 1, |out| {
                let (channels, route) = (node.channels.as_slice(), node.route());
                let (status, index) = (payment.status, *slot as u64 + 1);
                let invoice = invoice.as_slice();
                write_payment(out, &View { payment, invoice, index, status, channels, route });
            });
        }
        let offsets = lnrpc::ListPaymentsResponse {
            payments: Vec::new(),
            first_index_offset: slots.first().map_or(0, |slot| *slot as u64 + 1),
            last_index_offset: slots.last().map_or(0, |slot| *slot as u64 + 1),
        };
        put(out, &offsets);
    });
    out
}

fn bake_macaroon(
    node: &mut Node,
    request: &lnrpc::BakeMacaroonRequest,
) -> Result<lnrpc::BakeMacaroonResponse, Refusal> {
    if request.permissions.is_empty() {
        let text = "permission list cannot be empty. specify at least one action/entity pair";
        return Err(Refusal::unknown(text));
    }
    let id = request.root_key_id;
    let (key, nonce) = match node.guard.root_key(id) {
        Some(key) => (*key, node.now_ns()),
        None => {
            let nonce = node.now_ns();
            let parts = [&id.to_be_bytes()[..], &nonce.to_be_bytes()[..]];
            let key = node.factory.derive(node.identity.name.as_bytes(), &parts);
            node.add_root_key(id, key);
            (key, nonce)
        }
    };
    let permissions: Vec<_> = request
        .permissions
        .iter()
        .map(|permission| Permission::new(&permission.entity, &permission.action))
        .collect();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&nonce.to_be_bytes());
    let macaroon = hex::encode(bake(&key, &id.to_string(), &bytes, &permissions));
    Ok(lnrpc::BakeMacaroonResponse { macaroon })
}

fn delete_root_key(node: &mut Node, id: u64) -> Result<bool, Refusal> {
    if id == 0 {
        return Err(Refusal::unknown("default root key ID 0 must not be deleted"));
    }
    let deleted = node.guard.delete_root_key(id);
    if deleted {
        node.book.append(&Record::RootKeyDeleted { id });
    }
    Ok(deleted)
}
