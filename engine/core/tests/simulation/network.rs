//! What happens between the engine and the nodes, and at the nodes.

use fulgurite_core::{
    Msat, PaymentHash, UnixMs,
    id::SendId,
    port::{
        ChannelInfo, Command, NodeEvent, NodeInfo, ProbeAnswer, SendEnd, SendPayment, SendReport,
        TrackCall, TrackReport,
    },
};

use super::{
    sim_node::{Request, Stream},
    world::{Happening, World},
};

/// The `grpc-timeout` of a send.
pub const DEADLINE_MS: i64 = 10_000;

impl World {
    /// Carries a command of the engine to its node, or fails to.
    pub fn command(&mut self, node: usize, command: Command) {
        // A connection that broke a moment ago, or a queue of the adapter that is full.
        let refused = !self.calm && self.random.percent(2);
        let Some(connection) = self.nodes[node].connection.filter(|_| !refused) else {
            self.not_connected(node, command);
            return;
        };
        match command {
            Command::Send(send) => self.send(node, &send),
            Command::Track(call) => {
                let stream = Stream { shows: false, last_at: 0 };
                self.nodes[node].tracks.insert(call.number, (call, stream));
                let ms = self.way(3_000);
                self.after(ms, Happening::TrackArrives { node, connection, call });
            }
            Command::ProbeExpiry { expiry } => {
                let ms = self.way(3_000);
                if !self.calm && self.random.percent(10) {
                    return;
                }
                self.after(ms, Happening::ProbeArrives { node, connection, expiry });
            }
            Command::ListChannels => {
                let channels = (1..=2).map(|channel| channel_info(node, channel)).collect();
                self.deliver_in(5, node, NodeEvent::Channels(channels));
            }
        }
    }

    fn not_connected(&mut self, node: usize, command: Command) {
        let event = match command {
            Command::Send(send) => {
                self.coverage.saw("send not handed over");
                let report = SendReport::Ended(SendEnd::NotHandedOver);
                NodeEvent::Send { send: send.send, report }
            }
            Command::Track(call) => {
                NodeEvent::Track { call, report: TrackReport::Unreachable("down".into()) }
            }
            Command::ProbeExpiry { expiry } => {
                NodeEvent::ExpiryProbe { expiry, answer: ProbeAnswer::Unreachable }
            }
            Command::ListChannels => return,
        };
        self.tell(node, event);
    }

    /// How long something takes on its way: mostly little, sometimes up to `slow_ms`.
    fn way(&mut self, slow_ms: i64) -> i64 {
        let slow = !self.calm && self.random.percent(20);
        self.random.between(1, if slow { slow_ms } else { 20 })
    }

    fn send(&mut self, node: usize, send: &SendPayment) {
        let stream = Stream { shows: false, last_at: 0 };
        self.nodes[node].sends.insert(send.send, stream);
        self.after(DEADLINE_MS, Happening::Deadline { node, send: send.send });
        let order = self.client.order(send.payment_hash);
        let mut request = Request {
            node,
            send: send.send,
            hash: send.payment_hash,
            amount: order.amount,
            expiry: send.expiry,
            invoice_expiry: order.invoice_expiry,
            hold_ms: 1,
            life: 0,
        };
        let fate = if self.calm { 99 } else { self.random.between(0, 99) };
        let ms = match fate {
            0..8 => {
                self.coverage.saw("request vanished");
                return;
            }
            8..20 => self.random.between(200, 30_000),
            20..30 => {
                request.hold_ms = self.random.between(100, 45_000);
                self.random.between(1, 12_000)
            }
            _ => self.random.between(1, 30),
        };
        self.after(ms, Happening::Headers(request));
    }

    /// Everybody who reads the payment gets its state.
    pub fn show(&mut self, at: usize, hash: PaymentHash) {
        let node = &self.nodes[at];
        let entry = &node.books[&hash];
        let (report, is_final, attempt) = (entry.report(), entry.is_final(), entry.attempt);
        let sends = node
            .sends
            .iter()
            .filter(|(send, stream)| stream.shows && Some(send.attempt) == attempt);
        let sends: Vec<SendId> = sends.map(|(send, _)| *send).collect();
        let tracks =
            node.tracks.values().filter(|(call, stream)| stream.shows && call.payment_hash == hash);
        let tracks: Vec<TrackCall> = tracks.map(|(call, _)| *call).collect();
        for send in sends {
            self.stream_says(at, send, SendReport::Payment(report.clone()));
            if is_final {
                self.stream_says(at, send, SendReport::Ended(SendEnd::Completed));
            }
        }
        for call in tracks {
            self.track_says(at, call, TrackReport::Payment(report.clone()));
        }
    }

    pub fn stream_says(&mut self, at: usize, send: SendId, report: SendReport) {
        let ms = self.way(1_500);
        let now = self.now;
        let Some(stream) = self.nodes[at].sends.get_mut(&send) else {
            return;
        };
        stream.last_at = stream.last_at.max(now + ms) + 1;
        let ms = stream.last_at - now;
        self.deliver_in(ms, at, NodeEvent::Send { send, report });
    }

    fn track_says(&mut self, at: usize, call: TrackCall, report: TrackReport) {
        let ms = self.way(6_000);
        let now = self.now;
        let Some((_, stream)) = self.nodes[at].tracks.get_mut(&call.number) else {
            return;
        };
        stream.last_at = stream.last_at.max(now + ms) + 1;
        let ms = stream.last_at - now;
        self.deliver_in(ms, at, NodeEvent::Track { call, report });
    }

    /// A Track call: the state now, then each change.
    pub fn track_arrives(&mut self, at: usize, connection: u32, call: TrackCall) {
        if self.nodes[at].connection != Some(connection) {
            return;
        }
        let report = match self.nodes[at].books.get(&call.payment_hash) {
            Some(entry) => TrackReport::Payment(entry.report()),
            None => TrackReport::NotFound,
        };
        if let (TrackReport::Payment(_), Some((_, stream))) =
            (&report, self.nodes[at].tracks.get_mut(&call.number))
        {
            stream.shows = true;
        }
        self.track_says(at, call, report);
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

    fn deliver_in(&mut self, ms: i64, node: usize, event: NodeEvent) {
        let Some(connection) = self.nodes[node].connection else {
            return;
        };
        self.after(ms, Happening::Deliver { life: self.life, node, connection, event });
    }

    /// A message reaches the engine, if its stream still stands.
    pub fn deliver(&mut self, life: u32, at: usize, connection: u32, event: NodeEvent) {
        let node = &mut self.nodes[at];
        if life != self.life || node.connection != Some(connection) {
            return;
        }
        let stands = match &event {
            NodeEvent::Send { send, report: SendReport::Ended(_) } => {
                node.sends.remove(send).is_some()
            }
            NodeEvent::Send { send, .. } => node.sends.contains_key(send),
            NodeEvent::Track { call, report: TrackReport::NotFound } => {
                node.tracks.remove(&call.number).is_some()
            }
            NodeEvent::Track { call, .. } => node.tracks.contains_key(&call.number),
            NodeEvent::Connected(_)
            | NodeEvent::Disconnected { .. }
            | NodeEvent::Channels(_)
            | NodeEvent::ExpiryProbe { .. } => true,
        };
        if stands {
            self.tell(at, event);
        }
    }

    /// Gives the engine an event.
    pub fn tell(&mut self, node: usize, event: NodeEvent) {
        let now = self.now();
        if let Some(engine) = &mut self.engine {
            engine.event(node, event, now);
        }
    }

    /// The `grpc-timeout` ends a send's stream, whatever it has shown.
    pub fn deadline(&mut self, node: usize, send: SendId) {
        if let Some(stream) = self.nodes[node].sends.remove(&send) {
            self.coverage.saw(if stream.shows {
                "the deadline ended a stream that had shown its payment"
            } else {
                "the deadline ended a silent stream"
            });
            let report = SendReport::Ended(SendEnd::Lost("deadline".into()));
            self.tell(node, NodeEvent::Send { send, report });
        }
    }

    /// The connection breaks: every stream on it ends.
    pub fn cut(&mut self, at: usize) {
        if self.nodes[at].connection.take().is_none() {
            return;
        }
        for (send, stream) in std::mem::take(&mut self.nodes[at].sends) {
            self.coverage.saw(if stream.shows {
                "a stream was cut after its first message"
            } else {
                "a stream was cut before its first message"
            });
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
        self.nodes[at].connection = Some(self.nodes[at].connections);
        let known = self.nodes[at].offset_ms + self.nodes[at].reading_error_ms;
        let clock_offset_ms = known + self.random.between(-1_000, 1_000);
        let info = NodeInfo {
            identity_pubkey: vec![2; 33],
            alias: String::new(),
            version: String::new(),
            block_height: 1,
            clock_offset_ms,
        };
        self.tell(at, NodeEvent::Connected(info));
    }
}

fn channel_info(node: usize, channel: u64) -> ChannelInfo {
    ChannelInfo {
        short_channel_id: channel + 10 * node as u64,
        remote_pubkey: "02".into(),
        active: true,
        capacity: Msat::from_sat_clamped(1_000_000),
        local_balance: Msat::from_sat_clamped(30_000),
        reserve: Msat::ZERO,
        commit_fee: Msat::ZERO,
        max_accepted_htlcs: 3,
        max_in_flight: Msat::from_sat_clamped(1_000_000),
        dust_limit: Msat::ZERO,
        outgoing: std::sync::Arc::default(),
    }
}
