//! Payments as a client of lnd sees them: duplicates, expiry, limits, faults.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fulgurite_proto::lnrpc;
use fulgurite_proto::routerrpc::router_client::RouterClient;
use fulgurite_sim::{FailMix, InvoiceOrder, Knobs, add_caveat, make_invoices, read_books};
use support::{fleet, invoices, lightning, pay, router, send, send_request, track, track_now};
use tonic::Request;

#[tokio::test]
async fn a_payment_succeeds_once_and_is_remembered() {
    let scratch = fleet(Knobs::default()).await;
    let mut router = router(&scratch.fleet.nodes()[0]).await;
    let invoice = &invoices(1)[0];
    let unknown = "NotFound: payment isn't initiated";
    assert_eq!(track(&mut router, invoice.payment_hash).await, unknown);
    assert_eq!(pay(&mut router, invoice).await, "IN_FLIGHT SUCCEEDED");
    assert_eq!(pay(&mut router, invoice).await, "AlreadyExists: invoice is already paid");
    assert_eq!(track(&mut router, invoice.payment_hash).await, "SUCCEEDED");
    let mut lightning = lightning(&scratch.fleet.nodes()[0]).await;
    let list = lightning.list_payments(lnrpc::ListPaymentsRequest::default()).await.unwrap();
    let list = list.into_inner();
    assert_eq!((list.payments.len(), list.last_index_offset), (1, 1));
    let paid = &list.payments[0];
    assert_eq!(paid.payment_request, invoice.bolt11);
    assert_eq!((paid.value_msat, paid.fee_msat), (1_000_000, 100));
    assert_eq!(paid.payment_preimage.len(), 64);
    assert_eq!(paid.htlcs[0].route.as_ref().unwrap().total_amt_msat, 1_000_100);
}

#[tokio::test]
async fn expiry_is_checked_before_the_payments() {
    let scratch = fleet(Knobs::default()).await;
    let mut router = router(&scratch.fleet.nodes()[0]).await;
    let created_at = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let expiry = Duration::from_secs(3_000);
    let order = InvoiceOrder { seed: 5, created_at, expiry, ..InvoiceOrder::default() };
    let invoice = &make_invoices(&order).unwrap()[0];
    assert_eq!(pay(&mut router, invoice).await, "IN_FLIGHT SUCCEEDED");
    let ahead = Knobs { clock_offset_ms: 3_001_000, ..Knobs::default() };
    scratch.fleet.turn(Some(0), &ahead).unwrap();
    scratch.fleet.restart(0, Duration::ZERO).await.unwrap();
    let mut router = support::router(&scratch.fleet.nodes()[0]).await;
    let refused = pay(&mut router, invoice).await;
    assert!(refused.starts_with("Unknown: invoice expired. Valid until 20"), "{refused}");
    assert_eq!(track(&mut router, invoice.payment_hash).await, "SUCCEEDED");
}

#[tokio::test]
async fn a_failed_hash_runs_again_and_only_the_first_send_fails() {
    let fail_mix = FailMix { no_route: 0.0, insufficient_balance: 0.0, ..FailMix::default() };
    let knobs = Knobs { fail_share: 1.0, fail_mix, ..Knobs::default() };
    let scratch = fleet(knobs).await;
    let mut router = router(&scratch.fleet.nodes()[0]).await;
    let invoice = &invoices(1)[0];
    let failed = "FAILED/FAILURE_REASON_TIMEOUT";
    assert_eq!(pay(&mut router, invoice).await, format!("INITIATED {failed}"));
    assert_eq!(track(&mut router, invoice.payment_hash).await, failed);
    assert_eq!(pay(&mut router, invoice).await, "IN_FLIGHT SUCCEEDED");
    let books = read_books(scratch.dir.path()).unwrap();
    assert_eq!((books.len(), books[0].payment_index), (1, 2));
}

#[tokio::test]
async fn a_node_that_is_full_refuses_at_once() {
    let knobs = Knobs { stuck_share: 1.0, fee_ppm: 0, ..Knobs::default() };
    let scratch = fleet(knobs).await;
    let info = &scratch.fleet.nodes()[0];
    let mut router = router(info).await;
    let mut lightning = lightning(info).await;
    let channels = lightning.list_channels(lnrpc::ListChannelsRequest::default()).await.unwrap();
    let chan_id = channels.into_inner().channels[1].chan_id;
    let mut streams = Vec::new();
    let all = invoices(485);
    for invoice in &all[..484] {
        let mut request = send_request(&invoice.bolt11);
        request.outgoing_chan_ids = vec![chan_id];
        let mut stream = router.send_payment_v2(request).await.unwrap().into_inner();
        let first = support::text(&stream.message().await.unwrap().unwrap());
        if streams.len() < 483 {
            assert_eq!(first, "IN_FLIGHT");
            streams.push(stream);
        } else {
            let last = support::text(&stream.message().await.unwrap().unwrap());
            assert_eq!(last, "FAILED/FAILURE_REASON_INSUFFICIENT_BALANCE");
        }
    }
    let again = pay(&mut router, &all[0]).await;
    assert_eq!(again, "AlreadyExists: payment is in transition");
    let channels = lightning.list_channels(lnrpc::ListChannelsRequest::default()).await.unwrap();
    let channels = channels.into_inner().channels;
    assert_eq!((channels[0].pending_htlcs.len(), channels[1].pending_htlcs.len()), (0, 483));
    assert_eq!(channels[1].unsettled_balance, 483_000);
    // The other channel has room.
    let mut stream = router.send_payment_v2(send_request(&all[484].bolt11)).await.unwrap();
    let first = stream.get_mut().message().await.unwrap().unwrap();
    assert_eq!(support::text(&first), "IN_FLIGHT");
}

#[tokio::test]
async fn a_fee_limit_of_zero_takes_free_routes_only() {
    let scratch = fleet(Knobs { fee_ppm: 1_000, ..Knobs::default() }).await;
    let mut router = router(&scratch.fleet.nodes()[0]).await;
    let invoice = &invoices(1)[0];
    let mut free = send_request(&invoice.bolt11);
    free.fee_limit_msat = 0;
    let refused = "INITIATED FAILED/FAILURE_REASON_NO_ROUTE";
    assert_eq!(send(&mut router, free.clone()).await, refused);
    scratch.fleet.turn(None, &Knobs { fee_ppm: 0, ..Knobs::default() }).unwrap();
    support::until("a free route", async || {
        let seen = send(&mut router, free.clone()).await;
        assert!([refused, "IN_FLIGHT SUCCEEDED"].contains(&seen.as_str()), "{seen}");
        seen != refused
    })
    .await;
}

#[tokio::test]
async fn a_deadline_ends_the_stream_and_not_the_payment() {
    let scratch = fleet(Knobs { latency_ms: 300.0, ..Knobs::default() }).await;
    let mut router = router(&scratch.fleet.nodes()[0]).await;
    let invoice = &invoices(1)[0];
    let mut request = Request::new(send_request(&invoice.bolt11));
    request.metadata_mut().insert("grpc-timeout", "100m".parse().unwrap());
    let ended = send(&mut router, request).await;
    assert_eq!(ended, "IN_FLIGHT DeadlineExceeded: context deadline exceeded");
    assert_eq!(track_now(&mut router, invoice.payment_hash).await, "IN_FLIGHT");
    assert_eq!(track(&mut router, invoice.payment_hash).await, "IN_FLIGHT SUCCEEDED");
}

#[tokio::test]
async fn an_expired_caveat_is_refused_with_lnds_words() {
    let scratch = fleet(Knobs::default()).await;
    let info = &scratch.fleet.nodes()[0];
    let admin = std::fs::read(&info.macaroon).unwrap();
    let late = add_caveat(&admin, "time-before 2020-01-01T00:00:00.25Z").unwrap();
    let channel = support::channel(info).await;
    let mut router = RouterClient::with_interceptor(channel, support::Macaroon::new(&late));
    let expected = "Unknown: caveat \"time-before 2020-01-01T00:00:00.25Z\" not satisfied: \
                    macaroon has expired";
    let invoice = &invoices(1)[0];
    assert_eq!(pay(&mut router, invoice).await, expected);
    let mut router = support::router(info).await;
    let unknown = "NotFound: payment isn't initiated";
    assert_eq!(track(&mut router, invoice.payment_hash).await, unknown);
}

#[tokio::test]
async fn cut_streams_say_nothing_about_their_payment() {
    for (knobs, seen) in [
        (Knobs { cut_silent_share: 1.0, ..Knobs::default() }, "CUT"),
        (Knobs { cut_first_share: 1.0, ..Knobs::default() }, "IN_FLIGHT CUT"),
        (Knobs { cut_last_share: 1.0, ..Knobs::default() }, "IN_FLIGHT CUT"),
        (Knobs { cut_last_share: 1.0, latency_ms: 50.0, ..Knobs::default() }, "IN_FLIGHT CUT"),
    ] {
        let scratch = fleet(knobs).await;
        let mut router = router(&scratch.fleet.nodes()[0]).await;
        let invoice = &invoices(1)[0];
        assert_eq!(pay(&mut router, invoice).await, seen);
        assert_eq!(track(&mut router, invoice.payment_hash).await, "SUCCEEDED");
    }
}

#[tokio::test]
async fn a_large_payment_is_split_if_it_may_be() {
    let scratch = fleet(Knobs::default()).await;
    let mut router = router(&scratch.fleet.nodes()[0]).await;
    let order = InvoiceOrder {
        seed: 5,
        count: 2,
        amount_msat: 15_000_000_000..=15_000_000_000,
        ..InvoiceOrder::default()
    };
    let all = make_invoices(&order).unwrap();
    let one = send_request(&all[0].bolt11);
    let mut many = send_request(&all[1].bolt11);
    (many.max_parts, many.fee_limit_msat) = (16, 10_000_000);
    assert_eq!(send(&mut router, one).await, "INITIATED FAILED/FAILURE_REASON_NO_ROUTE");
    assert_eq!(send(&mut router, many).await, "IN_FLIGHT SUCCEEDED");
    let books = read_books(scratch.dir.path()).unwrap();
    let paid: Vec<_> = books.iter().filter(|entry| entry.fee_msat > 0).collect();
    assert_eq!((paid.len(), paid[0].amount_msat), (1, 15_000_000_000));
}

#[tokio::test]
async fn a_payment_made_over_two_nodes_shows_in_both_books() {
    let scratch = fleet(Knobs::default()).await;
    let invoice = &invoices(1)[0];
    for info in scratch.fleet.nodes() {
        let mut router = router(info).await;
        assert_eq!(pay(&mut router, invoice).await, "IN_FLIGHT SUCCEEDED");
    }
    let books = read_books(scratch.dir.path()).unwrap();
    let nodes: Vec<_> = books.iter().map(|entry| entry.node.as_str()).collect();
    assert_eq!(nodes, ["node-0", "node-1"]);
    assert!(books.iter().all(|entry| entry.payment_hash == invoice.payment_hash));
}

#[tokio::test]
async fn a_capped_node_makes_payments_wait_and_time_out() {
    let scratch = fleet(Knobs { payments_per_second: 5.0, ..Knobs::default() }).await;
    let mut router = router(&scratch.fleet.nodes()[0]).await;
    let mut streams = Vec::new();
    for (number, invoice) in invoices(8).iter().enumerate() {
        let mut request = send_request(&invoice.bolt11);
        request.timeout_seconds = if number == 7 { 1 } else { 30 };
        streams.push(router.send_payment_v2(request).await.unwrap().into_inner());
    }
    let mut ends = Vec::new();
    for mut stream in streams {
        let mut last = None;
        while let Some(payment) = stream.message().await.unwrap() {
            last = Some(support::text(&payment));
        }
        ends.push(last.unwrap());
    }
    assert_eq!(ends[..7], ["SUCCEEDED"; 7]);
    assert_eq!(ends[7], "FAILED/FAILURE_REASON_TIMEOUT");
}
