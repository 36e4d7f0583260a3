//! What comes from the nodes to the engine: the streams of sends and of Track calls.

use fulgurite_core::{
    PaymentHash,
    id::SendId,
    port::{NodeEvent, SendEnd, SendReport, TrackCall, TrackReport},
};

use crate::{
    fault::Fault,
    sim_node::Stream,
    world::{Happening, World},
};

impl World {
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
        self.tell_of(format_args!("node {at}: {hash} is {:?}", report.status));
        for send in sends {
            self.stream_says(at, send, SendReport::Payment(report.clone()));
            if is_final {
                let cut = self.strikes(Fault::CutAfterLast);
                let end = if cut { SendEnd::Lost("cut".into()) } else { SendEnd::Completed };
                self.stream_says(at, send, SendReport::Ended(end));
            }
        }
        for call in tracks {
            self.track_says(at, call, TrackReport::Payment(report.clone()));
            self.ends_if_final(at, call.number, is_final);
        }
    }

    /// A Track stream shows one payment up to its end; another run of the hash is not its matter.
    pub fn ends_if_final(&mut self, at: usize, call: u64, is_final: bool) {
        if let (true, Some((_, stream))) = (is_final, self.nodes[at].tracks.get_mut(&call)) {
            stream.shows = false;
        }
    }

    pub fn stream_says(&mut self, at: usize, send: SendId, report: SendReport) {
        let Some(stream) = self.nodes[at].sends.get(&send).copied() else {
            return;
        };
        let (stream, ms) = self.turn(at, stream, 1_500);
        self.nodes[at].sends.insert(send, stream);
        self.says(at, ms, NodeEvent::Send { send, report });
    }

    pub fn track_says(&mut self, at: usize, call: TrackCall, report: TrackReport) {
        let Some((_, stream)) = self.nodes[at].tracks.get(&call.number).copied() else {
            return;
        };
        // An answer can be older than a fence.
        let late_ms = if self.random.percent(50) { 150_000 } else { 6_000 };
        let (mut stream, ms) = self.turn(at, stream, late_ms);
        let ms = self.aim_answer(at, ms);
        stream.last_at = stream.last_at.max(self.now + ms);
        self.nodes[at].tracks.insert(call.number, (call, stream));
        self.says(at, ms, NodeEvent::Track { call, report });
    }

    /// When the next message of a stream arrives: after those before it, if it does not overtake.
    fn turn(&mut self, at: usize, mut stream: Stream, late_ms: i64) -> (Stream, i64) {
        let mut ms = self.way(late_ms);
        if self.nodes[at].slow_until > self.now {
            ms += self.faults.size(Fault::NodeSlow, 100, late_ms.max(3_000));
        }
        if !self.strikes(Fault::UpdateReordered) {
            stream.last_at = stream.last_at.max(self.now + ms) + 1;
            ms = stream.last_at - self.now;
        }
        (stream, ms)
    }

    fn says(&mut self, at: usize, ms: i64, event: NodeEvent) {
        let tracked = matches!(event, NodeEvent::Track { .. });
        if tracked && self.strikes(Fault::UpdateLost) {
            return;
        }
        if self.strikes(Fault::UpdateDoubled) {
            let late_ms = self.faults.size(Fault::UpdateDoubled, 1, 8_000);
            self.deliver_in(ms + late_ms, at, event.clone());
        }
        self.deliver_in(ms, at, event);
    }

    pub fn deliver_in(&mut self, ms: i64, node: usize, event: NodeEvent) {
        let Some(connection) = self.nodes[node].connection else {
            return;
        };
        self.after(ms, Happening::Deliver { life: self.life, node, connection, event });
    }

    /// A message reaches the engine, if its connection still stands. Also one of a stream that is
    /// over: a message that came twice or was overtaken.
    pub fn deliver(&mut self, life: u32, at: usize, connection: u32, event: NodeEvent) {
        let node = &mut self.nodes[at];
        if life != self.life || node.connection != Some(connection) {
            return;
        }
        match &event {
            NodeEvent::Send { send, report: SendReport::Ended(_) } => {
                // The first end counts; the deadline or a cut may have been it.
                if node.sends.remove(send).is_none() {
                    return;
                }
            }
            NodeEvent::Track { call, report: TrackReport::NotFound } => {
                node.tracks.remove(&call.number);
            }
            NodeEvent::Send { .. }
            | NodeEvent::Track { .. }
            | NodeEvent::Connected(_)
            | NodeEvent::Disconnected { .. }
            | NodeEvent::Channels(_)
            | NodeEvent::Payments { .. }
            | NodeEvent::Fenced { .. }
            | NodeEvent::Revoked(..)
            | NodeEvent::ExpiryProbe { .. } => {}
        }
        self.tell(at, event);
    }

    /// The `grpc-timeout` ends a send's stream, whatever it has shown.
    pub fn deadline(&mut self, node: usize, send: SendId) {
        if let Some(stream) = self.nodes[node].sends.remove(&send) {
            self.saw(if stream.shows {
                "the deadline ended a stream that had shown its payment"
            } else {
                "the deadline ended a silent stream"
            });
            let report = SendReport::Ended(SendEnd::Lost("deadline".into()));
            self.tell(node, NodeEvent::Send { send, report });
        }
    }

    /// The stream of one send breaks, its connection stands.
    pub fn stream_cut(&mut self, node: usize, send: SendId) {
        if self.nodes[node].sends.remove(&send).is_some() {
            let report = SendReport::Ended(SendEnd::Lost("cut".into()));
            self.tell(node, NodeEvent::Send { send, report });
        }
    }
}
