//! Starting the engine: one thread for the actors and the nodes' connections.

use std::{
    sync::{Arc, atomic::AtomicBool},
    thread,
};

use actix::System;
use fulgurite_core::{
    NodeName,
    batch::{Batch, State as BatchState},
    book::Book,
    channel,
    event::{Event, SendBounds},
    node,
    port::Journal,
    retry::RetryPolicy,
};
use fulgurite_inbox::{Inbox, inbox};
use fulgurite_journal::{JournalHandle, Opened};
use parking_lot::Mutex;

use crate::{
    claims::Claims,
    engine::Engine,
    fleet::Fleet,
    fleet_work::open_adapter,
    intake::{self, Intake},
    metrics::Metrics,
    slot::{BatchSlot, Directory, NodeSlot, OpenNode, SendPolicy, Shared},
    supervisor::{Parts, Supervisor, Vital},
    witness::{Witness, WitnessPolicy},
    witness_thread,
};

/// One node of the fleet.
pub struct NodeOptions {
    /// Its name in the configuration.
    pub name: NodeName,
    /// Its address, for operators.
    pub address: String,
    /// Its limits.
    pub limits: node::Limits,
    /// Opens its adapter; called once, on the thread of the actors.
    pub open: OpenNode,
}

/// What an engine is started with.
pub struct Options {
    /// The fleet.
    pub nodes: Vec<NodeOptions>,
    /// Waits between attempts.
    pub retry: RetryPolicy,
    /// How sends are made.
    pub sends: SendPolicy,
    /// What stays free of every channel.
    pub channels: channel::Limits,
    /// How the nodes' payments are compared with the journal.
    pub witness: WitnessPolicy,
    /// The limits at the door.
    pub intake: intake::Limits,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
}

/// Starts the actors on what the journal recovered: every open attempt is asked for, nothing new
/// is sent before its event is durable. Returns at once; the doors may open.
pub fn start(options: Options, opened: Opened) -> Engine {
    let Opened { book, epoch, journal, views, running } = opened;
    let nodes = options.nodes.iter().enumerate().map(|(index, node)| {
        let name = Arc::clone(&node.name);
        let standing = book.nodes.get(&name).cloned().unwrap_or_default();
        let compared = book.compared.get(&name);
        // What came before the journal is of no order of its own.
        let seen_until = compared.map_or(book.born, |seen| seen.until);
        let (name, address) = ((name, standing), node.address.clone());
        Arc::new(NodeSlot::new(index, name, node.limits, address, seen_until))
    });
    let nodes: Vec<Arc<NodeSlot>> = nodes.collect();
    let recovered = book.time;
    let send_bounds = send_bounds(&book, options.sends, &journal);
    let (witness, checks) = Witness::new(options.witness, nodes.len(), &book);
    let claims = Claims::default();
    let (open, open_payments) = reopen(book, &claims);
    let shared = Arc::new(Shared {
        journal,
        claims,
        directory: Directory::default(),
        nodes: Fleet::new(nodes),
        rooms: Default::default(),
        intake: Intake::new(options.intake, open_payments),
        metrics: options.metrics,
        retry: options.retry,
        sends: options.sends,
        send_bounds,
        channels: options.channels,
        epoch,
        recovered,
        witness,
        withdraws: AtomicBool::new(false),
    });
    witness_thread::run(Arc::clone(&shared), views.clone(), checks);
    let singles = Arc::new(BatchSlot::new(0, None, options.intake.open_payments_max));
    let sizes = inbox::Limits { door_max: 2, returns_max: 4_096, batch_max: 256 };
    let tasks = Arc::new(Inbox::new(sizes));
    let engine = Engine {
        shared: Arc::clone(&shared),
        views: views.clone(),
        tasks: Arc::clone(&tasks),
        singles: Arc::clone(&singles),
        running: Arc::new(Mutex::new(Some(running))),
    };
    let openers: Vec<OpenNode> = options.nodes.into_iter().map(|node| node.open).collect();
    let run = move || {
        let _guard = Vital("the thread of the actors");
        let system = System::new();
        system.block_on(async move {
            shared.metrics.record_here();
            let adapters = openers
                .iter()
                .zip(&shared.nodes.every())
                .map(|(open, slot)| open_adapter(open, slot))
                .collect();
            Supervisor::start_all(Parts { shared, views, tasks, singles, adapters, open });
            std::future::pending::<()>().await;
        });
    };
    let arbiter = thread::Builder::new().name("arbiter-0".to_owned()).spawn(run);
    arbiter.expect("the process may start a thread");
    engine
}

/// How late any open send may start a payment: an earlier engine may have been configured to more
/// than this one (rule E13). In the journal before any send of this engine.
fn send_bounds(book: &Book, sends: SendPolicy, journal: &JournalHandle) -> SendBounds {
    let mut payments = book.batches.values().flat_map(|batch| &batch.payments);
    let any_open = payments.any(|payment| payment.state.open_attempt().is_some());
    let earlier = if any_open { book.send_bounds } else { SendBounds::default() };
    let bounds = earlier.max(sends.bounds());
    if bounds != book.send_bounds {
        journal.append(Event::SendBounds(bounds));
    }
    bounds
}

/// The open batches of a recovered book, older ones first, as they would be without the restart;
/// and how many of their payments are open. Each of those claims its hash.
fn reopen(book: Book, claims: &Claims) -> (Vec<Batch>, usize) {
    let mut open = Vec::new();
    let mut open_payments = 0;
    for (_, batch) in book.batches {
        if batch.summary.state == BatchState::Finished {
            continue;
        }
        // What is final is in the views, claims included.
        for payment in batch.payments.iter().filter(|payment| !payment.is_final()) {
            open_payments += 1;
            // A payment that failed, was ordered again, and then turned out to be paid: two of one
            // hash. The first keeps the claim; neither is paid again by another order.
            if claims.claim(payment.order.payment_hash, payment.id).is_err() {
                tracing::error!(payment = %payment.id, "another payment of its hash is open, too");
                continue;
            }
            claims.seal(payment.order.payment_hash, payment.id);
        }
        open.push(batch);
    }
    open.sort_by_key(|batch| batch.summary.accepted.batch);
    (open, open_payments)
}
