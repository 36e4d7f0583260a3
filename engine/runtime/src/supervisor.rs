//! Who watches the actors: builds them on their slots, and anew when they die.
//!
//! actix restarts nothing after a panic. So every actor holds a [`DeathWatch`], whose drop tells
//! the supervisor; it builds a new actor on the same slot from the journal, behind a durable
//! barrier (rule E16). Too many deaths end the process: a deterministic bug comes back.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use actix::prelude::*;
use fulgurite_core::{
    BatchId, Event,
    batch::{Batch, State as BatchState},
    payment::State,
    port::{self, Journal},
};
use fulgurite_inbox::Inbox;
use fulgurite_journal::Views;
use futures::Stream;

use crate::{
    batch_actor::BatchActor,
    batch_work::BatchWork,
    end::end,
    fleet::Change,
    fleet_work::Next,
    message::{BatchMessage, NodeMessage, Start},
    node_actor::NodeActor,
    node_work::NodeWork,
    release::ReleaseList,
    slot::{BatchSlot, Shared},
};

/// More deaths than this within [`DEATHS_WINDOW`] end the process.
pub const DEATHS_MAX: usize = 5;
/// The window in which deaths are counted.
pub const DEATHS_WINDOW: Duration = Duration::from_secs(10);
/// The exit code of a process that ends for repeated deaths.
pub const EXIT_DEATHS: i32 = 70;

/// Something that nobody rebuilds: when it is gone, an engine that seems to live pays nothing, so
/// the process ends.
pub struct Vital(pub &'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        let gone = self.0;
        let line =
            format!("{gone} is gone; nothing is lost: report the panic above, then start again");
        end(EXIT_DEATHS, &line);
    }
}

/// Whose death it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The batch actor of this slot.
    Batch(u64),
    /// The actor of the node with this index.
    Node(usize),
}

/// An actor is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ActorDied {
    who: Who,
    natural: bool,
}

/// Tells the supervisor when its actor is gone, also by a panic.
pub struct DeathWatch {
    supervisor: Addr<Supervisor>,
    who: Who,
    /// The actor ended because its work is over.
    pub natural: bool,
}

impl Drop for DeathWatch {
    #[expect(clippy::disallowed_methods, reason = "the one message that may ignore the mailbox")]
    fn drop(&mut self) {
        self.supervisor.do_send(ActorDied { who: self.who, natural: self.natural });
    }
}

/// What the doors ask of the supervisor.
pub(crate) enum Task {
    /// Pay this batch.
    Adopt(Box<Batch>),
    /// A node joins, is renewed or leaves.
    Fleet(Box<Change>),
}

/// The supervisor of one arbiter.
pub struct Supervisor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) views: Views,
    releases: ReleaseList,
    tasks: Arc<Inbox<Task>>,
    singles: Arc<BatchSlot>,
    pub(crate) slots: HashMap<u64, (Arc<BatchSlot>, u32)>,
    /// By index; `None` while a node is opened anew, and once it left.
    pub(crate) adapters: Vec<Option<Rc<dyn port::Node>>>,
    /// What becomes of nodes whose actors were told to end.
    pub(crate) stopping: HashMap<usize, Next>,
    deaths: Rc<RefCell<VecDeque<Instant>>>,
    next_slot: u64,
    _guard: Vital,
}

/// What a supervisor starts from.
pub struct Parts {
    /// What every actor shares.
    pub shared: Arc<Shared>,
    /// What is known of open batches.
    pub views: Views,
    /// Where doors put tasks.
    pub(crate) tasks: Arc<Inbox<Task>>,
    /// The standing slot of single payments.
    pub singles: Arc<BatchSlot>,
    /// The nodes' adapters, opened on this thread, by index.
    pub adapters: Vec<Rc<dyn port::Node>>,
    /// What is open from before this start.
    pub open: Vec<Batch>,
}

struct TaskPump(Arc<Inbox<Task>>);

impl Stream for TaskPump {
    type Item = Vec<Task>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let mut batch = Vec::new();
        self.0.poll_batch(cx, &mut batch).map(|()| Some(batch))
    }
}

impl Supervisor {
    /// Starts the supervisor with all its actors, and what is open with them.
    pub fn start_all(parts: Parts) -> Addr<Supervisor> {
        let durable = Arc::clone(parts.shared.journal.watermark());
        let releases = ReleaseList::new(durable, Arc::clone(&parts.shared.metrics));
        let run = releases.clone().run();
        actix_rt::spawn(async move {
            let _guard = Vital("the release of what is durable");
            run.await;
        });
        Supervisor::create(|context| {
            let mut supervisor = Supervisor {
                shared: parts.shared,
                views: parts.views,
                releases,
                tasks: parts.tasks,
                singles: parts.singles,
                slots: HashMap::new(),
                adapters: parts.adapters.into_iter().map(Some).collect(),
                stopping: HashMap::new(),
                deaths: Rc::default(),
                next_slot: 1,
                _guard: Vital("the supervisor"),
            };
            let me = context.address();
            for node in 0..supervisor.adapters.len() {
                supervisor.start_node(node, &me, false);
            }
            let singles = Arc::clone(&supervisor.singles);
            supervisor.slots.insert(singles.id, (Arc::clone(&singles), 0));
            supervisor.start_batch(singles, 0, Vec::new(), &me);
            for batch in parts.open {
                supervisor.adopt(batch, &me);
            }
            supervisor
        })
    }

    fn adopt(&mut self, batch: Batch, me: &Addr<Supervisor>) {
        let id = batch.summary.accepted.batch;
        if batch.summary.accepted.single {
            self.shared.directory.insert(id, Arc::clone(&self.singles));
            self.singles.inbox.deliver(BatchMessage::Adopt(Box::new(batch)));
            return;
        }
        let slot = Arc::new(BatchSlot::new(self.next_slot, Some(id), batch.payments.len()));
        self.next_slot += 1;
        self.slots.insert(slot.id, (Arc::clone(&slot), 0));
        self.shared.directory.insert(id, Arc::clone(&slot));
        self.start_batch(slot, 0, vec![batch], me);
    }

    fn start_batch(
        &self,
        slot: Arc<BatchSlot>,
        incarnation: u32,
        batches: Vec<Batch>,
        me: &Addr<Supervisor>,
    ) {
        let who = Who::Batch(slot.id);
        let watch = DeathWatch { supervisor: me.clone(), who, natural: false };
        let (shared, releases) = (Arc::clone(&self.shared), self.releases.clone());
        let mut work = BatchWork::new(shared, slot, releases, incarnation);
        for batch in batches {
            work.take_over(batch);
        }
        BatchActor::new(work, watch).start();
    }

    pub(crate) fn start_node(&self, index: usize, me: &Addr<Supervisor>, again: bool) {
        let watch = DeathWatch { supervisor: me.clone(), who: Who::Node(index), natural: false };
        let Some(adapter) = self.adapters[index].clone() else {
            return;
        };
        let slot = self.shared.nodes.at(index);
        let mut work = NodeWork::new((Arc::clone(&self.shared), self.views.clone()), slot, adapter);
        if again {
            work.take_over();
        }
        NodeActor::new(work, watch).start();
    }

    fn died(&mut self, who: Who, context: &mut Context<Supervisor>) {
        let now = Instant::now();
        let mut deaths = self.deaths.borrow_mut();
        deaths.push_back(now);
        while deaths.front().is_some_and(|at| now.duration_since(*at) > DEATHS_WINDOW) {
            deaths.pop_front();
        }
        if deaths.len() > DEATHS_MAX {
            let (times, within_s) = (deaths.len(), DEATHS_WINDOW.as_secs());
            let line = format!(
                "actors died {times} times within {within_s} s ({who:?} last); nothing is lost: \
                 report the panic above, then start again"
            );
            end(EXIT_DEATHS, &line);
        }
        drop(deaths);
        tracing::error!(actor = ?who, "actor died; rebuilding it from the journal");
        match who {
            Who::Batch(slot) => self.rebuild_batch(slot, context),
            Who::Node(index) => {
                self.shared.metrics.actor_died("node");
                // It may have died with the word that it is to end.
                if !self.node_stopped(index, context) {
                    self.rebuild_node(index, context);
                }
            }
        }
    }

    /// Rule E16: a durable barrier, then the journal up to it.
    fn rebuild_batch(&mut self, slot: u64, context: &mut Context<Supervisor>) {
        self.shared.metrics.actor_died("batch");
        let Some((slot, incarnation)) = self.slots.get_mut(&slot) else {
            return;
        };
        *incarnation += 1;
        let (slot, incarnation) = (Arc::clone(slot), *incarnation);
        for node in self.shared.nodes.present() {
            node.inbox.deliver(NodeMessage::BatchReborn { slot: slot.id, incarnation });
        }
        self.behind_barrier(context, move |supervisor, me| {
            let batches = supervisor.views.read_open(|book| {
                let ours = |batch: &&Batch| match slot.batch {
                    Some(id) => batch.summary.accepted.batch == id,
                    None => batch.summary.accepted.single,
                };
                let open = |batch: &&Batch| batch.summary.state != BatchState::Finished;
                book.batches.values().filter(ours).filter(open).cloned().collect()
            });
            supervisor.start_batch(slot, incarnation, batches, me);
        });
    }

    pub(crate) fn rebuild_node(&mut self, index: usize, context: &mut Context<Supervisor>) {
        // What is placed from here on is for the new actor; what was before is placed again.
        let node = self.shared.nodes.at(index);
        let incarnation = node.incarnation.fetch_add(1, Ordering::Relaxed) + 1;
        self.behind_barrier(context, move |supervisor, me| {
            supervisor.start_node(index, me, true);
            supervisor.resume_node(index);
            for (slot, _) in supervisor.slots.values() {
                slot.inbox.deliver(BatchMessage::NodeReborn { node: index, incarnation });
            }
        });
    }

    /// Does `then` once a barrier is durable and in the read model.
    fn behind_barrier(
        &self,
        context: &mut Context<Supervisor>,
        then: impl FnOnce(&mut Supervisor, &Addr<Supervisor>) + 'static,
    ) {
        let barrier = self.shared.journal.append(Event::Barrier);
        let projected = Arc::clone(self.shared.journal.projected());
        let passed = projected.wait_owned(barrier).into_actor(self);
        context.spawn(passed.map(|(), supervisor, context| {
            let me = context.address();
            then(supervisor, &me);
        }));
    }

    /// Gives a rebuilt node actor every attempt that is open there.
    fn resume_node(&self, index: usize) {
        let slot = self.shared.nodes.at(index);
        let mut open = Vec::new();
        self.views.read_open(|book| {
            for batch in book.batches.values() {
                for payment in &batch.payments {
                    let attempt = payment.state.open_attempt();
                    if attempt.is_some_and(|attempt| attempt.node == slot.name) {
                        open.push(payment.clone());
                    }
                }
            }
        });
        for payment in open {
            let Some(attempt) = payment.state.open_attempt() else {
                continue;
            };
            let batch = self.slot_of(payment.id.batch());
            let Some((batch, incarnation)) = batch else {
                continue;
            };
            let start = Start {
                payment: payment.id,
                attempt: Arc::clone(attempt),
                order: Arc::clone(&payment.order),
                time: payment.attempts.last().map_or(payment.updated, |last| last.started),
                batch,
                incarnation,
                stuck: matches!(payment.state, State::Stuck(_)),
                confirmed: payment.is_confirmed(),
            };
            slot.inbox.deliver(NodeMessage::Resume(Box::new(start)));
        }
    }

    fn slot_of(&self, batch: BatchId) -> Option<(Arc<BatchSlot>, u32)> {
        let slot = Arc::clone(self.shared.directory.get(&batch)?.value());
        let incarnation = self.slots.get(&slot.id)?.1;
        Some((slot, incarnation))
    }
}

impl Actor for Supervisor {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.add_stream(TaskPump(Arc::clone(&self.tasks)));
        context.run_interval(Duration::from_millis(50), |supervisor, _| {
            supervisor.shared.claims.sweep(supervisor.shared.journal.projected().get());
            supervisor.shared.intake.sweep(supervisor.shared.journal.projected().get());
        });
        context.run_interval(Duration::from_secs(1), |supervisor, _| {
            supervisor.shared.metrics.merge();
        });
    }
}

impl StreamHandler<Vec<Task>> for Supervisor {
    fn handle(&mut self, batch: Vec<Task>, context: &mut Self::Context) {
        let me = context.address();
        for task in batch {
            match task {
                Task::Adopt(batch) => self.adopt(*batch, &me),
                Task::Fleet(change) => self.change(*change, &me),
            }
        }
    }
}

impl Handler<ActorDied> for Supervisor {
    type Result = ();

    fn handle(&mut self, death: ActorDied, context: &mut Self::Context) {
        match death.who {
            who if !death.natural => self.died(who, context),
            // Told to end twice, it had ended already: the node needs an actor all the same.
            Who::Node(index) if !self.node_stopped(index, context) => {
                self.rebuild_node(index, context);
            }
            Who::Batch(slot) => {
                let slot = self.slots.remove(&slot).and_then(|(slot, _)| slot.batch);
                if let Some(batch) = slot {
                    self.shared.directory.remove(&batch);
                }
            }
            _ => {}
        }
    }
}
