//! What goes wrong by itself: crashes, cuts, restarts, deaths of actors, clocks, channels.

use fulgurite_core::{
    Msat, PaymentHash, UnixMs,
    batch::{self, Batch},
    id::AttemptId,
    payment::{Attempt, Payment, State},
    port::{
        FailureReason, Journal, NodeEvent, PaymentReport, PaymentStatus, TrackCall, TrackReport,
    },
};

use crate::{
    engine::{Engine, Release, index},
    fault::Fault,
    sim_node::{Entry, SimChannel, Status},
    world::{Happening, World},
};

/// How often the faults of nodes, connections, actors and clocks are drawn.
const EACH_MS: i64 = 250;

impl World {
    /// The engine's machine may stop after any step; most of all while something is not durable.
    pub fn crashes(&mut self) {
        let Some(engine) = &self.engine else {
            return;
        };
        let fault = if engine.recovers() {
            Fault::CrashInRecovery
        } else if self.disk.durable() < self.disk.last() {
            Fault::CrashBeforeSync
        } else {
            Fault::EngineCrash
        };
        if self.strikes(fault) {
            self.crash();
        } else {
            self.panics();
        }
    }

    /// An actor may panic with something in its hands.
    fn panics(&mut self) {
        let Some(engine) = &self.engine else {
            return;
        };
        let unsynced = self.disk.durable() < self.disk.last();
        let sends = engine.pending.iter().find_map(|(_, release)| match release {
            Release::Start(attempt) => engine.payment(attempt.payment).state.open_attempt(),
            Release::Reply(_) => None,
        });
        let node = sends.map(|open| index(open));
        let batch = engine.batches.iter().rfind(|(_, work)| work.reborn_at.is_none());
        let batch = batch.map(|(batch, _)| *batch).filter(|_| unsynced);
        if let Some(batch) = batch
            && self.strikes(Fault::PanicBeforeSync)
            && let Some(engine) = &mut self.engine
        {
            engine.batch_dies(batch);
        }
        if let Some(node) = node
            && self.strikes(Fault::PanicBeforeSend)
        {
            self.node_dies(node);
        }
    }

    /// A node's actor dies, and its calls with it; its sends run on unseen.
    fn node_dies(&mut self, node: usize) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        if engine.nodes[node].reborn_at.is_none() {
            engine.node_dies(node);
            self.nodes[node].sends.clear();
            self.nodes[node].tracks.clear();
        }
    }

    /// Draws everything that can go wrong by itself.
    pub fn faults_strike(&mut self) {
        if self.faults.calm {
            return;
        }
        self.after(EACH_MS, Happening::Faults);
        let node = self.random.index(self.nodes.len());
        if self.nodes[node].connection.is_some() && self.strikes(Fault::ConnectionCut) {
            self.cut(node);
        }
        self.actor_faults(node);
        self.node_faults(node);
        self.channel_faults(node);
        self.clock_faults();
        if !self.is_copy()
            && self.failed_for_good().is_some()
            && self.strikes(Fault::SucceededAfterFailed)
        {
            self.succeeds_after_all();
        }
    }

    fn actor_faults(&mut self, node: usize) {
        let Some(engine) = &self.engine else {
            return;
        };
        let alive = engine.batches.iter().filter(|(_, work)| work.reborn_at.is_none());
        let alive: Vec<_> = alive.map(|(batch, _)| *batch).collect();
        let node_lives = engine.nodes[node].reborn_at.is_none();
        if !alive.is_empty() && self.strikes(Fault::BatchActorPanic) {
            let batch = alive[self.random.index(alive.len())];
            if let Some(engine) = &mut self.engine {
                engine.batch_dies(batch);
            }
        }
        if node_lives && self.strikes(Fault::NodeActorPanic) {
            self.node_dies(node);
        }
    }

    fn node_faults(&mut self, node: usize) {
        if self.nodes[node].up && self.strikes(Fault::NodeRestart) {
            let ms = self.faults.size(Fault::NodeRestart, 500, 8_000);
            self.node_restarts(node, ms);
        }
        if self.nodes[node].up && self.strikes(Fault::NodeDown) {
            let ms = self.faults.size(Fault::NodeDown, 20_000, 60_000);
            self.node_restarts(node, ms);
        }
        if self.strikes(Fault::NodeSlow) {
            self.nodes[node].slow_until = self.now + self.faults.size(Fault::NodeSlow, 500, 20_000);
        }
        if self.strikes(Fault::NodeForgets) {
            self.node_forgets(node);
        }
        let books = &self.nodes[node].books;
        let open = |id: u64| self.nodes[node].channels.iter().any(|channel| channel.id == id);
        let htlc = books.iter().find(|(_, entry)| entry.has_htlc() && open(entry.channel));
        let htlc = htlc.map(|(hash, _)| *hash);
        let stuck = books.iter().find(|(_, entry)| entry.lost && !entry.is_final());
        let stuck = stuck.map(|(hash, _)| *hash);
        if let Some(hash) = htlc
            && self.strikes(Fault::HtlcLost)
            && let Some(entry) = self.nodes[node].books.get_mut(&hash)
        {
            entry.lost = true;
        }
        if let Some(hash) = stuck
            && self.strikes(Fault::StuckFails)
            && let Some(entry) = self.nodes[node].books.get_mut(&hash)
        {
            entry.status = Status::Failed(FailureReason::Timeout);
            self.show(node, hash);
        }
    }

    fn channel_faults(&mut self, node: usize) {
        let count = self.nodes[node].channels.len();
        let at = self.random.index(count.max(1));
        let id = u64::from(self.nodes[node].connections) + 10 * u64::from(self.life) + 100;
        if self.strikes(Fault::ChannelNew) && count < 4 {
            let id = id + 1_000 * node as u64;
            if self.nodes[node].channels.iter().all(|channel| channel.id != id) {
                self.nodes[node].channels.push(SimChannel::new(id));
            }
        }
        // What becomes of a lost HTLC when its channel is closed, no rule says yet (E20).
        let id = self.nodes[node].channels[at].id;
        let lost = |entry: &Entry| entry.lost && !entry.is_final() && entry.channel == id;
        let lost = self.nodes[node].books.values().any(lost);
        if count > 1 && !lost && self.strikes(Fault::ChannelGone) {
            self.nodes[node].channels.remove(at);
        } else if self.strikes(Fault::ChannelInactive) {
            let ms = self.faults.size(Fault::ChannelInactive, 1_000, 60_000);
            self.nodes[node].channels[at].away_until = self.now + ms;
        } else if self.strikes(Fault::ChannelFull) {
            let ms = self.faults.size(Fault::ChannelFull, 1_000, 30_000);
            self.nodes[node].channels[at].full_until = self.now + ms;
        }
    }

    fn clock_faults(&mut self) {
        let before = self.clock_ms;
        let rising = |engine: &Engine| engine.nodes.iter().any(|node| node.fence.is_rising());
        if self.engine.as_ref().is_some_and(rising) && self.strikes(Fault::ClockBeforeFence) {
            self.clock_ms += self.faults.size(Fault::ClockBeforeFence, 5_000, 60_000);
        }
        if self.strikes(Fault::ClockForward) {
            self.clock_ms += self.faults.size(Fault::ClockForward, 1_000, 300_000);
        }
        if self.strikes(Fault::ClockBack) {
            let ms = self.faults.size(Fault::ClockBack, 1_000, 300_000);
            self.clock_ms -= ms;
            self.set_back_ms += ms;
        }
        if let Some(engine) = &mut self.engine {
            engine.set_ms += self.clock_ms - before;
        }
    }

    /// The engine's machine stops; everything in memory is gone.
    pub fn crash(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        self.check_replay(&engine);
        let left = self.disk.crash(&mut self.random);
        if left.tearable {
            // Torn or missing: recovery ends before it in the same way.
            self.strikes(Fault::TornRecord);
        }
        if left.lost > 0 {
            self.saw("a crash lost records");
        }
        if left.survived > 0 {
            self.saw("records survived a crash unsynced");
        }
        self.starts_anew();
    }

    /// The engine's process is gone with its connections; another one starts soon.
    pub fn starts_anew(&mut self) {
        for node in &mut self.nodes {
            node.connection = None;
            node.sends.clear();
            node.tracks.clear();
        }
        self.life += 1;
        let ms = self.random.between(1, 4_000);
        self.after(ms, Happening::Restart);
    }

    /// lnd restarts: what has no HTLC yet fails with NO_ROUTE, the rest goes on.
    fn node_restarts(&mut self, at: usize, ms: i64) {
        if !self.nodes[at].up {
            return;
        }
        self.cut(at);
        self.nodes[at].up = false;
        self.nodes[at].life += 1;
        self.after(ms, Happening::NodeUp { node: at });
    }

    pub fn node_up(&mut self, at: usize) {
        self.nodes[at].up = true;
        for entry in self.nodes[at].books.values_mut() {
            if entry.status == Status::Initiated {
                entry.status = Status::Failed(FailureReason::NoRoute);
            }
        }
    }

    /// The node comes back with older books. What it forgot before anybody knew that it had shown
    /// it may be paid all the same: no rule helps there, so those hashes are not judged any more.
    fn node_forgets(&mut self, at: usize) {
        let since = self.now - self.faults.size(Fault::NodeForgets, 1_000, 30_000);
        self.node_restarts(at, 1_000);
        let young = |entry: &Entry| entry.began >= since && entry.attempt.is_some();
        let books = &self.nodes[at].books;
        let young: Vec<PaymentHash> =
            books.iter().filter(|(_, entry)| young(entry)).map(|(hash, _)| *hash).collect();
        for hash in young {
            self.nodes[at].books.remove(&hash);
            self.excused.insert(hash, "its node forgot it");
        }
    }

    /// A payment that failed for good in a batch that is not finished, and its last attempt.
    fn failed_for_good(&self) -> Option<(&Payment, &Attempt)> {
        let open = |batch: &&Batch| batch.summary.state != batch::State::Finished;
        let payments = self.visible.batches.values().filter(open).flat_map(|b| &b.payments);
        let failed = payments.filter(|payment| matches!(payment.state, State::Failed(_)));
        let failed = failed.filter_map(|payment| Some((payment, payment.attempts.last()?)));
        // The book has no order of its own.
        failed.min_by_key(|(payment, _)| payment.id)
    }

    /// A node says SUCCEEDED of a payment that has failed for good.
    fn succeeds_after_all(&mut self) {
        let Some((payment, attempt)) = self.failed_for_good() else {
            return;
        };
        let hash = payment.order.payment_hash;
        let id = AttemptId { payment: payment.id, number: attempt.number };
        let (at, amount) = (attempt.node.len() - 1, payment.order.amount);
        let preimage = self.client.invoice(hash).preimage;
        let report = PaymentReport {
            status: PaymentStatus::Succeeded { preimage, fee_paid: Msat::ZERO },
            amount,
            first_hops: Vec::new(),
            htlc_expiry_height: 0,
            created: UnixMs(self.now),
        };
        self.excused.insert(hash, "its node said SUCCEEDED after FAILED");
        let (attempt, payment_hash) = (id, hash);
        let call = TrackCall { attempt, number: 0, payment_hash, follow: true };
        self.tell(at, NodeEvent::Track { call, report: TrackReport::Payment(report) });
    }

    /// No more faults: everything must come to its end now.
    pub fn calm_down(&mut self) {
        self.faults.calm = true;
        for channel in self.nodes.iter_mut().flat_map(|node| &mut node.channels) {
            (channel.away_until, channel.full_until) = (0, 0);
        }
        if self.engine.is_none() {
            self.after(10, Happening::Restart);
        }
    }
}
