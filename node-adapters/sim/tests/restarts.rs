//! What a node keeps over its kill, and what it shows of itself.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fulgurite_proto::invoicesrpc::invoices_client::InvoicesClient;
use fulgurite_proto::lnrpc::state_client::StateClient;
use fulgurite_proto::routerrpc::TrackPaymentRequest;
use fulgurite_proto::{invoicesrpc, lnrpc};
use fulgurite_sim::{Fleet, FleetFile, Knobs, Status, read_books};
use sha2::{Digest, Sha256};
use support::{fleet, invoices, lightning, pay, router, send_request, track, track_now};

#[tokio::test]
async fn paid_hashes_and_balances_survive_a_kill() {
    let scratch = fleet(Knobs::default()).await;
    let info = scratch.fleet.nodes()[0].clone();
    let all = invoices(3);
    let mut client = router(&info).await;
    assert_eq!(pay(&mut client, &all[0]).await, "IN_FLIGHT SUCCEEDED");
    scratch.fleet.kill(0).await.unwrap();
    let down = pay(&mut client, &all[1]).await;
    assert!(!down.contains("FLIGHT") && !down.contains("INITIATED"), "{down}");
    let again = scratch.fleet.start_node(0).await.unwrap();
    assert_eq!(again, info);
    let mut client = router(&info).await;
    assert_eq!(pay(&mut client, &all[0]).await, "AlreadyExists: invoice is already paid");
    assert_eq!(track(&mut client, all[0].payment_hash).await, "SUCCEEDED");
    assert_eq!(pay(&mut client, &all[2]).await, "IN_FLIGHT SUCCEEDED");
    let request = lnrpc::ListChannelsRequest::default();
    let channels = lightning(&info).await.list_channels(request).await.unwrap().into_inner();
    let local: i64 = channels.channels.iter().map(|channel| channel.local_balance).sum();
    assert_eq!(local, 20_000_000 - 2_002);
}

#[tokio::test]
async fn a_whole_fleet_comes_back_at_the_same_addresses() {
    let scratch = fleet(Knobs::default()).await;
    let nodes = scratch.fleet.nodes().to_vec();
    let all = invoices(2);
    assert_eq!(pay(&mut router(&nodes[1]).await, &all[0]).await, "IN_FLIGHT SUCCEEDED");
    let support::Scratch { fleet, dir } = scratch;
    tokio::task::spawn_blocking(|| drop(fleet)).await.unwrap();
    let mut config = support::config(dir.path(), Knobs::default());
    config.only = Some("node-1".into());
    let fleet = Fleet::start(config).await.unwrap();
    assert_eq!(fleet.nodes(), &nodes[1..]);
    assert_eq!(FleetFile::read(dir.path()).unwrap().nodes, nodes);
    let mut client = router(&nodes[1]).await;
    assert_eq!(pay(&mut client, &all[0]).await, "AlreadyExists: invoice is already paid");
}

#[tokio::test]
async fn after_a_restart_htlcs_resolve_and_nothing_else_is_attempted() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Knobs { latency_ms: 400.0, ..Knobs::default() };
    let fleet = Fleet::start(support::config(dir.path(), slow)).await.unwrap();
    let info = fleet.nodes()[0].clone();
    let all = invoices(1_000);
    let mut client = router(&info).await;
    let open = async |invoice: usize| {
        let stream = client.clone().send_payment_v2(send_request(&all[invoice].bolt11)).await;
        stream.unwrap().into_inner().message().await.unwrap().unwrap()
    };
    fleet.turn(Some(0), &Knobs { zombie_share: 1.0, ..Knobs::default() }).unwrap();
    let mut zombie = 0;
    // Those before it were begun under the old knobs, and have an HTLC.
    support::until("a payment without an HTLC", async || {
        zombie += 1;
        open(zombie).await.htlcs.is_empty()
    })
    .await;
    let settles = zombie - 1;
    assert_eq!(track_now(&mut client, all[zombie].payment_hash).await, "IN_FLIGHT");
    fleet.restart(0, Duration::from_millis(50)).await.unwrap();
    let mut client = router(&info).await;
    let seen = track(&mut client, all[zombie].payment_hash).await;
    assert_eq!(seen, "FAILED/FAILURE_REASON_NO_ROUTE");
    let seen = track(&mut client, all[settles].payment_hash).await;
    assert!(seen.ends_with("SUCCEEDED"), "{seen}");
}

#[tokio::test]
async fn a_stuck_payment_is_stuck_over_a_restart() {
    let scratch = fleet(Knobs { stuck_share: 1.0, ..Knobs::default() }).await;
    let info = scratch.fleet.nodes()[0].clone();
    let invoice = &invoices(1)[0];
    let mut client = router(&info).await;
    let request = send_request(&invoice.bolt11);
    let mut stream = client.send_payment_v2(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    scratch.fleet.restart(0, Duration::ZERO).await.unwrap();
    let mut client = router(&info).await;
    assert_eq!(track_now(&mut client, invoice.payment_hash).await, "IN_FLIGHT");
    let books = read_books(scratch.dir.path()).unwrap();
    assert_eq!(books[0].status, Status::InFlight);
}

#[tokio::test]
async fn the_knobs_can_ask_for_a_restart() {
    let scratch = fleet(Knobs::default()).await;
    let info = &scratch.fleet.nodes()[0];
    let mut watcher = lightning(info).await;
    let request = lnrpc::ChannelEventSubscription {};
    let mut events = watcher.subscribe_channel_events(request).await.unwrap().into_inner();
    let knobs = Knobs { restarts: 1, down_ms: 300, ..Knobs::default() };
    scratch.fleet.turn(Some(0), &knobs).unwrap();
    let ended = events.message().await;
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    let mut refusals = 0;
    support::until("the node to be back", async || {
        let is_back = support::dial(info).await.is_ok();
        refusals += u32::from(!is_back);
        is_back
    })
    .await;
    assert!(refusals > 0, "it was never down");
    let mut client = router(info).await;
    assert_eq!(pay(&mut client, &invoices(1)[0]).await, "IN_FLIGHT SUCCEEDED");
}

#[tokio::test]
async fn a_hold_invoice_of_the_fleet_is_held_settled_and_remembered() {
    let scratch = fleet(Knobs::default()).await;
    let (payer, payee) = (&scratch.fleet.nodes()[0], &scratch.fleet.nodes()[1]);
    let preimage = [8_u8; 32];
    let hash = Sha256::digest(preimage);
    let channel = support::channel(payee).await;
    let mut owner = InvoicesClient::with_interceptor(channel, support::admin(payee));
    let request = invoicesrpc::AddHoldInvoiceRequest {
        hash: hash.to_vec(),
        value: 2_000,
        ..Default::default()
    };
    let bolt11 = owner.add_hold_invoice(request).await.unwrap().into_inner().payment_request;
    let own = support::send(&mut router(payee).await, send_request(&bolt11)).await;
    assert_eq!(own, "Unknown: self-payments not allowed");
    let mut client = router(payer).await;
    let stream = client.send_payment_v2(send_request(&bolt11)).await.unwrap();
    assert_eq!(support::text(&stream.into_inner().message().await.unwrap().unwrap()), "IN_FLIGHT");
    scratch.fleet.restart(0, Duration::ZERO).await.unwrap();
    let mut client = router(payer).await;
    let request = TrackPaymentRequest { payment_hash: hash.to_vec(), ..Default::default() };
    let mut followed = client.track_payment_v2(request).await.unwrap().into_inner();
    let first = followed.message().await.unwrap().unwrap();
    assert_eq!(support::text(&first), "IN_FLIGHT");
    let request = invoicesrpc::SettleInvoiceMsg { preimage: preimage.to_vec() };
    owner.settle_invoice(request).await.unwrap();
    assert!(support::collect(followed).await.ends_with("SUCCEEDED"));
    scratch.fleet.restart(1, Duration::ZERO).await.unwrap();
    let request = lnrpc::PaymentHash { r_hash: hash.to_vec() };
    let invoice = lightning(payee).await.lookup_invoice(request).await.unwrap().into_inner();
    assert_eq!(invoice.state(), lnrpc::invoice::InvoiceState::Settled);
    assert_eq!((invoice.amt_paid_msat, invoice.r_preimage), (2_000_000, preimage.to_vec()));
}

#[tokio::test]
async fn a_node_tells_about_itself_as_lnd_does() {
    let scratch = fleet(Knobs::default()).await;
    let info = &scratch.fleet.nodes()[1];
    let mut client = lightning(info).await;
    let node = client.get_info(lnrpc::GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(node.identity_pubkey, info.pubkey);
    assert!(node.synced_to_chain && node.synced_to_graph && node.block_height > 0);
    let mut state = StateClient::new(support::channel(info).await);
    let active = state.get_state(lnrpc::GetStateRequest {}).await.unwrap().into_inner();
    assert_eq!(active.state(), lnrpc::WalletState::ServerActive);
    let invoice = &invoices(1)[0];
    let request = lnrpc::PayReqString { pay_req: invoice.bolt11.clone() };
    let decoded = client.decode_pay_req(request).await.unwrap().into_inner();
    assert_eq!(decoded.payment_hash, hex::encode(invoice.payment_hash));
    assert_eq!(decoded.num_msat, 1_000_000);
    let request = lnrpc::ChannelEventSubscription {};
    let mut events = client.subscribe_channel_events(request).await.unwrap().into_inner();
    scratch.fleet.turn(None, &Knobs { peers_offline: true, ..Knobs::default() }).unwrap();
    let event = events.message().await.unwrap().unwrap();
    let kind = lnrpc::channel_event_update::UpdateType::InactiveChannel;
    assert_eq!(event.r#type(), kind);
}

#[tokio::test]
async fn list_payments_pages_both_ways() {
    let scratch = fleet(Knobs::default()).await;
    let info = &scratch.fleet.nodes()[0];
    let mut client = router(info).await;
    for invoice in &invoices(5) {
        pay(&mut client, invoice).await;
    }
    let mut client = lightning(info).await;
    for (offset, max, reversed, expected) in [
        (0, 2, false, vec![1, 2]),
        (2, 2, false, vec![3, 4]),
        (4, 9, false, vec![5]),
        (5, 9, false, vec![]),
        (0, 2, true, vec![4, 5]),
        (4, 2, true, vec![2, 3]),
        (0, 0, true, vec![1, 2, 3, 4, 5]),
    ] {
        let request = lnrpc::ListPaymentsRequest {
            include_incomplete: true,
            index_offset: offset,
            max_payments: max,
            reversed,
            ..Default::default()
        };
        let page = client.list_payments(request).await.unwrap().into_inner();
        let found: Vec<u64> = page.payments.iter().map(|payment| payment.payment_index).collect();
        assert_eq!(found, expected);
        let ends = (page.first_index_offset, page.last_index_offset);
        let first = expected.first().copied().unwrap_or(0);
        assert_eq!(ends, (first, expected.last().copied().unwrap_or(0)));
    }
}
