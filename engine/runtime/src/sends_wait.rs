//! What a send waits for (rules E1, E8): the actors' own work, on a journal that stops writing.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
};

use fulgurite_core::{
    AttemptId, Event, Lsn, Msat, Order, PaymentHash, UnixMs,
    batch::{self, Batch},
    breaker, channel,
    event::AttemptStarted,
    node,
    order::{Accepted, BatchOptions, Sealed},
    port::{self, Command, Journal, NodeEvent, NodeInfo, TrackCall, TrackReport},
    retry::RetryPolicy,
    standing,
    testing::{self, batch_id},
    window,
};
use fulgurite_journal::{JournalHandle, JournalOptions, Opened, Running, Views};
use tokio::sync::oneshot;

use crate::{
    actor_deaths::{batch_options, quick_sends},
    batch_work::BatchWork,
    claims::Claims,
    clock::now,
    fleet::Fleet,
    intake::{self, Intake},
    message::{BatchMessage, Grant, NodeMessage, Request, Start, Steer},
    node_work::NodeWork,
    release::ReleaseList,
    slot::{BatchSlot, Board, Directory, NodeSlot, Shared},
    witness::{Witness, WitnessPolicy},
};

/// What was asked of the node.
#[derive(Default)]
pub(crate) struct Heard(pub(crate) RefCell<Vec<Command>>);

impl port::Node for Heard {
    fn command(&self, command: Command) {
        self.0.borrow_mut().push(command);
    }
}

/// One node and one batch, without their actors.
pub(crate) struct Bench {
    pub(crate) shared: Arc<Shared>,
    views: Views,
    running: Option<Running>,
    pub(crate) node: Arc<NodeSlot>,
    pub(crate) slot: Arc<BatchSlot>,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(5, 0)
    }

    /// A node with this window and this rate.
    pub(crate) fn with(window: u32, payments_per_second_max: u32) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = fulgurite_journal::open(JournalOptions::new(folder.path()), now());
        let Opened { book, epoch, journal, views, running } = opened.expect("a journal");
        let limits = node::Limits {
            window: window::Limits { start: window, min: 1, max: window },
            breaker: breaker::Limits { faults: 20, open_ms: 200, probes: 2 },
            payments_per_second_max,
        };
        let named = (Arc::from("a"), standing::Standing::default());
        let node = Arc::new(NodeSlot::new(0, named, limits, String::new(), now()));
        let sends = quick_sends();
        let intake = intake::Limits { open_payments_max: 9, uploads_max: 1, disk_floor_bytes: 0 };
        let shared = Arc::new(Shared {
            journal,
            claims: Claims::default(),
            directory: Directory::default(),
            nodes: Fleet::new(vec![Arc::clone(&node)]),
            rooms: Default::default(),
            intake: Intake::new(intake, 1),
            metrics: Arc::default(),
            // No test takes so long that a retry comes by itself.
            retry: RetryPolicy { backoff_ms_first: 30_000, ..RetryPolicy::default() },
            sends,
            send_bounds: sends.bounds(),
            channels: channel::Limits { slots_reserve: 0, fee_exposure_max: Msat::MAX },
            epoch,
            recovered: book.time,
            // Nothing waits for the comparison of the nodes here.
            witness: Witness::new(WitnessPolicy::default(), 0, &book).0,
            withdraws: AtomicBool::new(false),
        });
        let slot = Arc::new(BatchSlot::new(1, Some(batch_id()), 1));
        let running = Some(running);
        Bench { shared, views, running, node, slot, _folder: folder }
    }

    pub(crate) fn journal(&self) -> &JournalHandle {
        &self.shared.journal
    }

    /// What is appended from here on never becomes durable.
    fn stop_writing(&mut self) {
        self.running.take().expect("it is stopped once").close();
    }

    pub(crate) fn wait_durable(&self) {
        self.journal().watermark().block_until(self.journal().last());
    }

    /// The work of a batch of so many orders.
    pub(crate) fn batch_work(&self, options: BatchOptions, rows: u32) -> BatchWork {
        let metrics = Arc::clone(&self.shared.metrics);
        let releases = ReleaseList::new(Arc::clone(self.journal().watermark()), metrics);
        let (shared, slot) = (Arc::clone(&self.shared), Arc::clone(&self.slot));
        let mut work = BatchWork::new(shared, slot, releases, 0);
        let rows: Vec<_> = (1..=rows).map(|row| (row, Arc::new(order()))).collect();
        let accepted = Arc::new(accepted(options));
        let orders = Arc::new(rows.clone());
        self.journal().append(Event::OrdersAdded { batch: batch_id(), orders });
        let lsn = self.journal().append(Event::BatchAccepted(Arc::clone(&accepted)));
        let batch = Batch::new(accepted, &rows, lsn);
        work.take_over(batch);
        work
    }

    /// A node actor's work that has heard of its node.
    pub(crate) fn node_work(&self, heard: &Rc<Heard>) -> NodeWork {
        let fleet = (Arc::clone(&self.shared), self.views.clone());
        let adapter: Rc<dyn port::Node> = Rc::<Heard>::clone(heard);
        let mut work = NodeWork::new(fleet, Arc::clone(&self.node), adapter);
        work.drain(vec![connected()]);
        work
    }

    /// What the node's actor would find in its inbox.
    pub(crate) fn told(&self) -> Vec<NodeMessage> {
        let mut messages = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.node.inbox.poll_batch(&mut context, &mut messages);
        messages
    }
}

impl Drop for Bench {
    /// A journal that still writes ends the process when its folder is gone.
    fn drop(&mut self) {
        self.running.take().into_iter().for_each(Running::close);
    }
}

pub(crate) fn attempt_id() -> AttemptId {
    AttemptId { payment: batch_id().payment(1), number: 1 }
}

/// Its invoice expires after all tests.
pub(crate) fn order() -> Order {
    let payment_hash = PaymentHash([7; 32]);
    Order { payment_hash, invoice_expiry: UnixMs(i64::MAX / 2), ..testing::order(1) }
}

fn accepted(options: BatchOptions) -> Accepted {
    Accepted { time: now(), ..testing::accepted(options, 1) }
}

fn started() -> Arc<AttemptStarted> {
    let started = AttemptStarted::clone(&testing::attempt(1));
    Arc::new(AttemptStarted { send_until: UnixMs(i64::MAX / 2), ..started })
}

pub(crate) fn connected() -> NodeMessage {
    NodeMessage::Event(NodeEvent::Connected(NodeInfo {
        identity_pubkey: vec![2; 33],
        alias: String::new(),
        version: String::new(),
        block_height: 1,
        clock_offset_ms: 0,
    }))
}

/// A node actor whose attempt waits for leave to be sent again.
pub(crate) fn asking(bench: &Bench, heard: &Rc<Heard>) -> NodeWork {
    let mut work = bench.node_work(heard);
    let start = Start {
        payment: batch_id().payment(1),
        attempt: started(),
        order: Arc::new(order()),
        time: now(),
        batch: Arc::clone(&bench.slot),
        incarnation: 0,
        stuck: false,
        confirmed: false,
    };
    work.drain(vec![NodeMessage::Resume(Box::new(start))]);
    let asked = |command: &Command| match command {
        Command::Track(call) => Some(*call),
        _ => None,
    };
    let call: Option<TrackCall> = heard.0.borrow().iter().find_map(asked);
    let (call, report) = (call.expect("it is asked for"), TrackReport::NotFound);
    work.drain(vec![NodeMessage::Event(NodeEvent::Track { call, report })]);
    work
}

fn steer(work: &mut NodeWork, input: standing::Input) -> Lsn {
    let (reply, mut lsn) = oneshot::channel();
    work.drain(vec![NodeMessage::Steer(Steer { input, reply })]);
    lsn.try_recv().expect("it is answered")
}

#[test]
fn an_attempt_is_sent_again_only_once_what_allows_it_at_its_node_is_durable() {
    for durable in [true, false] {
        let (mut bench, heard) = (Bench::new(), Rc::<Heard>::default());
        let mut work = asking(&bench, &heard);
        steer(&mut work, standing::Input::Drain(Sealed::plain("ada")));
        bench.wait_durable();
        if !durable {
            bench.stop_writing();
        }
        let undrained = steer(&mut work, standing::Input::Undrain(Sealed::plain("ada")));
        if durable {
            bench.wait_durable();
        }
        assert_eq!(bench.journal().durable() >= undrained, durable);
        work.drain(vec![NodeMessage::Permission(attempt_id(), true)]);
        let heard = heard.0.borrow();
        let sent = heard.iter().any(|command| matches!(command, Command::Send(_)));
        assert_eq!(sent, durable, "{heard:?}");
    }
}

#[test]
fn an_attempt_is_sent_again_only_once_it_is_durable_that_its_batch_goes_on() {
    for durable in [true, false] {
        let mut bench = Bench::new();
        let mut work = bench.batch_work(BatchOptions { start_paused: true, ..batch_options() }, 1);
        bench.wait_durable();
        if !durable {
            bench.stop_writing();
        }
        let (reply, _) = oneshot::channel();
        let input = batch::Input::Resume;
        work.drain(vec![BatchMessage::Request(Request { batch: batch_id(), input, reply })]);
        if durable {
            bench.wait_durable();
        }
        work.drain(vec![BatchMessage::AskPermission(attempt_id(), 0)]);
        work.drain(Vec::new());
        let answer = |message: &NodeMessage| matches!(message, NodeMessage::Permission(..));
        assert_eq!(bench.told().iter().any(answer), durable, "durable: {durable}");
    }
}

#[test]
fn what_a_node_actor_granted_that_died_meanwhile_is_placed_again() {
    for dies in [false, true] {
        let bench = Bench::new();
        let mut work = bench.batch_work(batch_options(), 1);
        *bench.node.board.lock() =
            Board { usable: true, window: 5, idle: Msat::MAX, ..Board::default() };
        let placed = |work: &mut BatchWork| {
            work.drain(Vec::new());
            bench.told().into_iter().find_map(|message| match message {
                NodeMessage::Place(place) => Some(place.placed),
                _ => None,
            })
        };
        let first = placed(&mut work).expect("it is placed");
        let before = bench.journal().last();
        if dies {
            bench.node.incarnation.fetch_add(1, Ordering::Relaxed);
        }
        let grant = Grant { placed: first, channels: Vec::new(), at: std::time::Instant::now() };
        work.drain(vec![BatchMessage::Grant(grant)]);
        assert_eq!(bench.journal().last() > before, !dies, "an attempt is decided");
        let again = bench.told().into_iter().find_map(|message| match message {
            NodeMessage::Place(place) => Some(place.placed),
            _ => None,
        });
        assert_eq!(again.is_some_and(|again| again.incarnation == 1), dies, "{again:?}");
    }
}
