//! The adapter against the simulated node, over TLS: what it reports of payments, refusals,
//! lost streams, clocks and restarts.
#![allow(clippy::unwrap_used)]

use std::{
    cell::Cell,
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fulgurite_core::{
    amount::Msat,
    id::{AttemptId, BatchId, PaymentHash, SendId},
    port::{
        ChannelInfo, ChannelsCall, Command, Node, NodeEvent, NodeInfo, PaymentReport,
        PaymentStatus, ProbeAnswer, Refused, SendEnd, SendPayment, SendReport, TrackCall,
        TrackReport,
    },
    time::UnixMs,
};
use fulgurite_lnd::{LndConfig, LndNode, macaroon::Macaroon};
use fulgurite_sim::{Fleet, FleetConfig, Invoice, InvoiceOrder, Knobs, make_invoices};
use tokio::sync::mpsc;

#[path = "against_sim/guard.rs"]
mod guard;

const HOUR_MS: i64 = 3_600_000;
/// Far above what anything takes; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet of one node, the adapter connected to it, and what it reports.
struct Rig {
    fleet: Fleet,
    node: LndNode,
    events: mpsc::UnboundedReceiver<NodeEvent>,
    invoices: Vec<Invoice>,
    sends: Cell<u64>,
    _dir: tempfile::TempDir,
}

/// Runs a test on one thread, as an arbiter does.
fn run(knobs: Knobs, test: impl AsyncFnOnce(&mut Rig)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut rig = Rig::start(knobs).await;
        test(&mut rig).await;
    });
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing came in time")
}

fn now() -> UnixMs {
    UnixMs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

impl Rig {
    async fn start(knobs: Knobs) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let config =
            FleetConfig { nodes: 2, dir: dir.path().to_owned(), knobs, ..FleetConfig::default() };
        let invoices =
            make_invoices(&InvoiceOrder { seed: config.seed, count: 8, ..Default::default() });
        let fleet = Fleet::start(config).await.unwrap();
        let info = &fleet.nodes()[0];
        let config = LndConfig {
            name: info.name.clone(),
            address: info.address.clone(),
            tls_cert_path: info.tls_cert.clone(),
            macaroon_path: info.macaroon.clone(),
            reconnect_ms_max: 500,
            files_interval_ms: 100,
            ..LndConfig::default()
        };
        let (sender, events) = mpsc::unbounded_channel();
        let node = LndNode::open(config, move |event| drop(sender.send(event)));
        let invoices = invoices.unwrap();
        Rig { fleet, node, events, invoices, sends: Cell::new(0), _dir: dir }
    }

    async fn event(&mut self) -> NodeEvent {
        patiently(self.events.recv()).await.unwrap()
    }

    /// Waits until the node can be used.
    async fn connected(&mut self) -> (NodeInfo, Vec<ChannelInfo>) {
        let info = loop {
            match self.event().await {
                NodeEvent::Connected(info) => break info,
                NodeEvent::Disconnected { .. } | NodeEvent::Channels(_) => {}
                other => panic!("{other:?}"),
            }
        };
        loop {
            if let NodeEvent::Channels(report) = self.event().await {
                return (info, report.open);
            }
        }
    }

    fn order(&self, invoice: usize, expiry: UnixMs, deadline: Duration) -> SendPayment {
        let invoice = &self.invoices[invoice];
        self.sends.set(self.sends.get() + 1);
        let attempt = AttemptId { payment: BatchId::from_uuid(0).payment(1), number: 1 };
        SendPayment {
            send: SendId { attempt, number: self.sends.get() },
            payment_hash: PaymentHash(invoice.payment_hash),
            invoice: invoice.bolt11.as_str().into(),
            amount: None,
            fee_limit: Msat::new(10_000).unwrap(),
            cltv_limit: 1_000,
            timeout_seconds: 30,
            outgoing_chan_ids: Vec::new(),
            max_parts: 1,
            expiry,
            deadline,
        }
    }

    /// Sends an invoice and waits for the end: the payments that were shown, and the end.
    async fn send(&mut self, order: SendPayment) -> (Vec<PaymentReport>, SendEnd) {
        self.node.command(Command::Send(Box::new(order)));
        self.end_of_send().await
    }

    async fn end_of_send(&mut self) -> (Vec<PaymentReport>, SendEnd) {
        let mut shown = Vec::new();
        loop {
            if let NodeEvent::Send { report, .. } = self.event().await {
                match report {
                    SendReport::Payment(payment) => shown.push(payment),
                    SendReport::Ended(end) => return (shown, end),
                }
            }
        }
    }

    async fn pay(&mut self, invoice: usize) -> (Vec<PaymentReport>, SendEnd) {
        self.send(self.order(invoice, now().plus_ms(15_000), Duration::from_secs(10))).await
    }

    /// Asks for an invoice's payment and returns the first answer.
    async fn track(&mut self, invoice: usize) -> TrackReport {
        self.ask(invoice, 1, true).await
    }

    /// The same with a number; it goes on when it is to `follow`.
    async fn ask(&mut self, invoice: usize, number: u64, follow: bool) -> TrackReport {
        let payment_hash = PaymentHash(self.invoices[invoice].payment_hash);
        let attempt = AttemptId { payment: BatchId::from_uuid(0).payment(1), number: 1 };
        let asked = TrackCall { attempt, number, payment_hash, follow };
        self.node.command(Command::Track(asked));
        loop {
            if let NodeEvent::Track { call, report } = self.event().await {
                assert_eq!(call, asked);
                return report;
            }
        }
    }

    async fn probe(&mut self, asked: UnixMs) -> ProbeAnswer {
        self.node.command(Command::ProbeExpiry { expiry: asked });
        loop {
            if let NodeEvent::ExpiryProbe { expiry, answer } = self.event().await {
                assert_eq!(expiry, asked);
                return answer;
            }
        }
    }
}

fn is_paid(report: &PaymentReport, hash: [u8; 32]) -> bool {
    match report.status {
        PaymentStatus::Succeeded { preimage, .. } => preimage.payment_hash() == PaymentHash(hash),
        PaymentStatus::InFlight | PaymentStatus::Failed(_) => false,
    }
}

#[test]
fn a_payment_succeeds_and_is_known_ever_after() {
    run(Knobs { latency_ms: 20.0, ..Knobs::default() }, async |rig| {
        let (info, channels) = rig.connected().await;
        assert_eq!(hex::encode(&info.identity_pubkey), rig.fleet.nodes()[0].pubkey);
        assert_eq!((info.clock_offset_ms, channels.len()), (0, 10));
        let hash = rig.invoices[0].payment_hash;
        let (shown, end) = rig.pay(0).await;
        assert_eq!(end, SendEnd::Completed);
        assert_eq!(shown[0].status, PaymentStatus::InFlight);
        let last = shown.last().unwrap();
        assert!(is_paid(last, hash), "{shown:?}");
        assert_eq!(last.amount.get(), rig.invoices[0].amount_msat);
        assert!((last.created.since(now())).abs() < 60_000);
        let again = rig.pay(0).await;
        assert_eq!(again, (Vec::new(), SendEnd::Refused(Refused::AlreadyExists)));
        let TrackReport::Payment(tracked) = rig.track(0).await else { panic!("not tracked") };
        assert!(is_paid(&tracked, hash));
        assert_eq!(rig.track(1).await, TrackReport::NotFound);
    });
}

#[test]
fn an_expired_macaroon_proves_that_nothing_started() {
    run(Knobs::default(), async |rig| {
        rig.connected().await;
        let past = now().plus_ms(-10);
        let (shown, end) = rig.send(rig.order(0, past, Duration::from_secs(10))).await;
        assert_eq!((shown.len(), end), (0, SendEnd::Refused(Refused::MacaroonExpired)));
        assert_eq!(rig.track(0).await, TrackReport::NotFound);
        assert_eq!(rig.probe(past).await, ProbeAnswer::Expired);
        assert_eq!(rig.probe(now().plus_ms(10_000)).await, ProbeAnswer::NotYet);
    });
}

#[test]
fn a_stream_that_is_cut_is_lost_not_failed() {
    run(Knobs { cut_silent_share: 1.0, ..Knobs::default() }, async |rig| {
        rig.connected().await;
        let (shown, end) = rig.pay(0).await;
        assert!(matches!((shown.len(), &end), (0, SendEnd::Lost(_))), "{shown:?} {end:?}");
        assert!(matches!(rig.track(0).await, TrackReport::Payment(_)));
    });
}

#[test]
fn a_deadline_ends_the_stream_not_the_payment() {
    run(Knobs { stuck_share: 1.0, ..Knobs::default() }, async |rig| {
        rig.connected().await;
        let order = rig.order(0, now().plus_ms(15_000), Duration::from_millis(700));
        let (shown, end) = rig.send(order).await;
        assert!(matches!(end, SendEnd::Lost(_)), "{end:?}");
        assert!(!shown.is_empty());
        let TrackReport::Payment(tracked) = rig.track(0).await else { panic!("not tracked") };
        assert_eq!((tracked.status, tracked.first_hops.len()), (PaymentStatus::InFlight, 1));
        assert!(tracked.htlc_expiry_height > 0);
    });
}

#[test]
fn a_question_that_is_asked_again_ends_the_stream_of_the_one_before() {
    run(Knobs { stuck_share: 1.0, ..Knobs::default() }, async |rig| {
        rig.connected().await;
        let order = rig.order(0, now().plus_ms(15_000), Duration::from_millis(300));
        assert!(!rig.send(order).await.0.is_empty());
        // The last one wants one answer and no more.
        for (number, follow) in [(1, true), (2, true), (3, false)] {
            let answer = rig.ask(0, number, follow).await;
            assert!(matches!(answer, TrackReport::Payment(_)), "{number}: {answer:?}");
        }
        rig.fleet.kill(0).await.unwrap();
        rig.fleet.start_node(0).await.unwrap();
        let mut ended = Vec::new();
        loop {
            match rig.event().await {
                NodeEvent::Track { call, report: TrackReport::Unreachable(_) } => {
                    ended.push(call.number);
                }
                NodeEvent::Connected(_) => break,
                NodeEvent::Disconnected { .. } | NodeEvent::Channels(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ended, [2]);
    });
}

#[test]
fn a_reading_of_the_channels_answers_everything_that_was_asked_before_it() {
    let closed = Knobs { closed_channels: 3, resolved_channels: 1, ..Knobs::default() };
    run(closed, async |rig| {
        let (_, open) = rig.connected().await;
        for (number, closed) in [(1, false), (2, true), (3, false)] {
            rig.node.command(Command::ListChannels(ChannelsCall { number, closed }));
        }
        let report = match rig.event().await {
            NodeEvent::Channels(report) => report,
            other => panic!("{other:?}"),
        };
        assert_eq!((report.number, &report.open), (3, &open));
        let gone = report.closed.unwrap();
        assert_eq!((gone.resolved.len(), gone.closing), (1, 2));
        assert!(open.iter().all(|info| info.short_channel_id != gone.resolved[0]));
        // The next one was not asked for closed ones.
        rig.node.command(Command::ListChannels(ChannelsCall { number: 4, closed: false }));
        let NodeEvent::Channels(next) = rig.event().await else { panic!("not the channels") };
        assert_eq!((next.number, next.closed), (4, None));
    });
}

#[test]
fn a_clock_that_is_off_is_found() {
    run(Knobs { clock_offset_ms: HOUR_MS, ..Knobs::default() }, async |rig| {
        let (info, _) = rig.connected().await;
        let off = info.clock_offset_ms - HOUR_MS;
        assert!(off.abs() <= 1_000, "{off} ms off");
    });
}

#[test]
fn a_killed_node_loses_streams_and_comes_back() {
    run(Knobs { stuck_share: 1.0, ..Knobs::default() }, async |rig| {
        rig.connected().await;
        let order = rig.order(0, now().plus_ms(15_000), Duration::from_secs(10));
        rig.node.command(Command::Send(Box::new(order)));
        while !matches!(rig.event().await, NodeEvent::Send { .. }) {}
        rig.fleet.kill(0).await.unwrap();
        assert!(matches!(rig.end_of_send().await.1, SendEnd::Lost(_)));
        while !matches!(rig.pay(1).await, (_, SendEnd::NotHandedOver)) {}
        assert!(matches!(rig.track(1).await, TrackReport::Unreachable(_)));
        assert_eq!(rig.probe(now()).await, ProbeAnswer::Unreachable);
        rig.fleet.start_node(0).await.unwrap();
        rig.connected().await;
        assert!(matches!(rig.track(0).await, TrackReport::Payment(_)));
    });
}

#[test]
fn a_dropped_node_reports_nothing_more() {
    run(Knobs { stuck_share: 1.0, ..Knobs::default() }, async |rig| {
        rig.connected().await;
        let info = &rig.fleet.nodes()[0];
        let config = LndConfig {
            address: info.address.clone(),
            tls_cert_path: info.tls_cert.clone(),
            macaroon_path: info.macaroon.clone(),
            ..LndConfig::default()
        };
        let (sender, mut events) = mpsc::unbounded_channel();
        let second = LndNode::open(config, move |event| drop(sender.send(event)));
        while !matches!(patiently(events.recv()).await.unwrap(), NodeEvent::Channels(_)) {}
        let order = rig.order(0, now().plus_ms(15_000), Duration::from_secs(10));
        second.command(Command::Send(Box::new(order)));
        drop(second);
        // The sender is dropped with the last task, and nothing came before.
        assert!(patiently(events.recv()).await.is_none());
    });
}

#[test]
fn a_replaced_macaroon_is_used_at_once() {
    run(Knobs::default(), async |rig| {
        rig.connected().await;
        let path = rig.fleet.nodes()[0].macaroon.clone();
        let good = std::fs::read(&path).unwrap();
        let past = Macaroon::parse(&good).unwrap().expiring_at(now().plus_ms(-HOUR_MS));
        std::fs::write(&path, past.to_bytes()).unwrap();
        let mut reasons = Vec::new();
        while reasons.len() < 2 {
            if let NodeEvent::Disconnected { reason } = rig.event().await {
                reasons.push(reason);
            }
        }
        assert!(reasons[0].contains("was replaced"), "{reasons:?}");
        assert!(reasons[1].contains("macaroon has expired"), "{reasons:?}");
        std::fs::write(&path, good).unwrap();
        rig.connected().await;
        assert_eq!(rig.pay(0).await.1, SendEnd::Completed);
    });
}
