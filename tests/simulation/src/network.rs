//! What goes from the engine to the nodes, and the connections between them.

use std::time::Duration;

use fulgurite_core::{
    UnixMs,
    port::{
        ChannelReport, Command, ListCall, NodeEvent, NodeInfo, ProbeAnswer, SendEnd, SendPayment,
        SendReport, TrackCall, TrackReport,
    },
};

use crate::{
    fault::Fault,
    rule::rule,
    sim_node::{Request, Stream},
    twin::Twin,
    world::{Happening, World},
};

/// The `grpc-timeout` of a send.
pub const DEADLINE_MS: i64 = 10_000;
/// How often a node's clock is read.
const READ_CLOCK_MS: i64 = 60_000;

impl World {
    /// Carries a command of the engine to its node, or fails to.
    pub fn command(&mut self, node: usize, command: Command) {
        if !matches!(command, Command::ListChannels(_)) {
            self.tell_of(format_args!("to node {node}: {command:?}"));
        }
        let connection = self.nodes[node].connection;
        // A connection that broke a moment ago, or a queue of the adapter that is full.
        let Some(connection) = connection.filter(|_| !self.strikes(Fault::NotHandedOver)) else {
            self.not_connected(node, command);
            return;
        };
        match command {
            Command::Send(send) => self.send(node, &send),
            Command::Track(call) => {
                self.nodes[node].tracks.insert(call.number, (call, Stream::default()));
                let ms = self.way(3_000);
                self.after(ms, Happening::TrackArrives { node, connection, call });
            }
            Command::ProbeExpiry { expiry } => {
                let ms = self.way(3_000);
                if !self.strikes(Fault::ProbeLost) {
                    self.after(ms, Happening::ProbeArrives { node, connection, expiry });
                }
            }
            Command::ListChannels(call) => {
                let open = self.nodes[node].list(self.now);
                let report = ChannelReport { open, closed: None, number: call.number };
                self.deliver_in(5, node, NodeEvent::Channels(report));
            }
            Command::ListPayments(call) => {
                let ms = self.way(3_000);
                self.after(ms, Happening::ListArrives { node, connection, call });
            }
            // There is no guard to revoke anything.
            Command::Revoke(_) => {}
        }
    }

    fn not_connected(&mut self, node: usize, command: Command) {
        let event = match command {
            Command::Send(send) => {
                let report = SendReport::Ended(SendEnd::NotHandedOver);
                NodeEvent::Send { send: send.send, report }
            }
            Command::Track(call) => {
                NodeEvent::Track { call, report: TrackReport::Unreachable("down".into()) }
            }
            Command::ProbeExpiry { expiry } => {
                NodeEvent::ExpiryProbe { expiry, answer: ProbeAnswer::Unreachable }
            }
            Command::ListPayments(call) => NodeEvent::Payments { call, page: Err("down".into()) },
            Command::ListChannels(_) | Command::Revoke(_) => return,
        };
        self.tell(node, event);
    }

    /// How long something takes on its way: mostly little, when late up to `late_ms`.
    pub fn way(&mut self, late_ms: i64) -> i64 {
        if self.strikes(Fault::UpdateLate) {
            return self.faults.size(Fault::UpdateLate, 20, late_ms);
        }
        self.random.between(1, 20)
    }

    fn send(&mut self, node: usize, send: &SendPayment) {
        self.check_send(send);
        let deadline = Duration::from_millis(DEADLINE_MS.unsigned_abs());
        rule!(send.deadline == deadline, "{:?} is sent with another deadline", send.send);
        self.nodes[node].sends.insert(send.send, Stream::default());
        self.after(DEADLINE_MS, Happening::Deadline { node, send: send.send });
        let invoice = self.client.invoice(send.payment_hash);
        let mut request = Request {
            node,
            send: send.send,
            hash: send.payment_hash,
            amount: invoice.amount,
            expiry: if self.is(Twin::NoCaveat) { UnixMs(i64::MAX) } else { send.expiry },
            invoice_expiry: invoice.invoice_expiry,
            channels: send.outgoing_chan_ids.clone(),
            hold_ms: 1,
            database_ms: 0,
            life: 0,
            engine: self.life,
        };
        if self.strikes(Fault::CutBeforeFirst) {
            let ms = self.faults.size(Fault::CutBeforeFirst, 1, 200);
            self.after(ms, Happening::StreamCut { node, send: send.send });
        }
        if self.strikes(Fault::RequestLost) {
            return;
        }
        let mut ms = self.random.between(1, 30);
        if self.nodes[node].slow_until > self.now {
            ms += self.faults.size(Fault::NodeSlow, 100, 14_000);
        }
        if self.strikes(Fault::RequestLate) {
            let most = [14_000, 14_000, 30_000, 90_000][self.random.index(4)];
            ms = self.faults.size(Fault::RequestLate, 200, most);
        }
        if self.strikes(Fault::MessageHeld) {
            // Most within the deadline: the others never get through.
            let most = if self.random.percent(60) { DEADLINE_MS - 1 } else { 45_000 };
            request.hold_ms = self.faults.size(Fault::MessageHeld, 100, most);
            ms += self.faults.size(Fault::MessageHeld, 1, 12_000);
        }
        let ms = self.aim(&mut request, ms);
        self.after(ms, Happening::Headers(request));
    }

    /// A Track call: the state now, then each change.
    pub fn track_arrives(&mut self, at: usize, connection: u32, call: TrackCall) {
        if self.nodes[at].connection != Some(connection) {
            return;
        }
        let life = self.life;
        let node = &mut self.nodes[at];
        node.asked.insert(call.payment_hash, life);
        let report = match node.books.get(&call.payment_hash) {
            Some(entry) => TrackReport::Payment(entry.report()),
            None => TrackReport::NotFound,
        };
        let is_open = node.books.get(&call.payment_hash).is_some_and(|entry| !entry.is_final());
        if let Some((_, stream)) = node.tracks.get_mut(&call.number) {
            stream.shows = is_open;
        }
        self.track_says(at, call, report);
    }

    /// A ListPayments call.
    pub fn list_arrives(&mut self, at: usize, connection: u32, call: ListCall) {
        let node = &self.nodes[at];
        if node.connection == Some(connection) {
            let page = Ok(node.payments(call));
            let ms = self.way(3_000);
            self.deliver_in(ms, at, NodeEvent::Payments { call, page });
        }
    }

    /// An expiry probe: lnd looks at the macaroon by its own clock.
    pub fn probe_arrives(&mut self, at: usize, connection: u32, expiry: UnixMs) {
        let node = &self.nodes[at];
        if node.connection != Some(connection) {
            return;
        }
        let expired = UnixMs(self.now + node.offset_ms) > expiry;
        let answer = if expired { ProbeAnswer::Expired } else { ProbeAnswer::NotYet };
        let ms = self.way(3_000);
        self.deliver_in(ms, at, NodeEvent::ExpiryProbe { expiry, answer });
    }

    /// Gives the engine an event.
    pub fn tell(&mut self, node: usize, event: NodeEvent) {
        if !matches!(event, NodeEvent::Channels(_)) {
            self.tell_of(format_args!("from node {node}: {event:?}"));
        }
        let now = self.now();
        if let Some(engine) = &mut self.engine {
            engine.event(node, event, now);
        }
    }

    /// The connection breaks: every stream on it ends.
    pub fn cut(&mut self, at: usize) {
        if self.nodes[at].connection.take().is_none() {
            return;
        }
        for (send, _) in std::mem::take(&mut self.nodes[at].sends) {
            let report = SendReport::Ended(SendEnd::Lost("cut".into()));
            self.tell(at, NodeEvent::Send { send, report });
        }
        for (_, (call, _)) in std::mem::take(&mut self.nodes[at].tracks) {
            let report = TrackReport::Unreachable("cut".into());
            self.tell(at, NodeEvent::Track { call, report });
        }
        self.tell(at, NodeEvent::Disconnected { reason: "cut".into() });
        let ms = self.random.between(50, 4_000);
        self.after(ms, Happening::Connect { node: at });
    }

    /// The engine connects; it finds the node's clock out to a second.
    pub fn connect(&mut self, at: usize) {
        if self.engine.is_none() || self.nodes[at].connection.is_some() {
            return;
        }
        if !self.nodes[at].up {
            self.after(500, Happening::Connect { node: at });
            return;
        }
        self.nodes[at].connections += 1;
        let connection = self.nodes[at].connections;
        self.nodes[at].connection = Some(connection);
        self.read_clock(at, connection);
    }

    /// The engine compares the node's clock with its own.
    pub fn read_clock(&mut self, at: usize, connection: u32) {
        if self.engine.is_none() || self.nodes[at].connection != Some(connection) {
            return;
        }
        let known = self.nodes[at].offset_ms + self.nodes[at].reading_error_ms - self.clock_ms;
        let clock_offset_ms = known + self.random.between(-1_000, 1_000);
        let info = NodeInfo {
            identity_pubkey: vec![2; 33],
            alias: String::new(),
            version: String::new(),
            block_height: 1,
            clock_offset_ms,
        };
        self.tell(at, NodeEvent::Connected(info));
        self.after(READ_CLOCK_MS, Happening::ReadClock { node: at, connection });
    }
}
