//! What goes wrong by itself: crashes, cuts, restarts, deaths of actors.

use fulgurite_core::port::FailureReason;

use super::{
    sim_node::Status,
    world::{Happening, World},
};

impl World {
    /// Something goes wrong, and again some time later.
    pub fn fault(&mut self) {
        if self.calm {
            return;
        }
        let ms = self.random.between(300, 5_000);
        self.after(ms, Happening::Fault);
        let node = self.random.index(self.nodes.len());
        match self.random.between(0, 9) {
            0..4 => {
                self.coverage.saw("a connection was cut");
                self.cut(node);
            }
            4 | 5 => self.node_restarts(node),
            6 => self.crash(),
            7 | 8 => self.batch_dies(),
            _ => self.node_dies(node),
        }
    }

    /// The engine's machine stops; everything in memory is gone.
    pub fn crash(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        self.check_replay(&engine);
        let (lost, survived) = self.disk.crash(&mut self.random);
        self.coverage.saw("the engine crashed");
        if lost > 0 {
            self.coverage.saw("a crash lost events");
        }
        if survived > 0 {
            self.coverage.saw("events survived a crash unsynced");
        }
        for node in &mut self.nodes {
            node.connection = None;
            node.sends.clear();
            node.tracks.clear();
        }
        self.life += 1;
        let ms = self.random.between(1, 4_000);
        self.after(ms, Happening::Restart);
    }

    fn batch_dies(&mut self) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        let alive = engine.batches.iter().filter(|(_, work)| work.reborn_at.is_none());
        let alive: Vec<_> = alive.map(|(batch, _)| *batch).collect();
        if !alive.is_empty() {
            self.coverage.saw("a batch actor died");
            engine.batch_dies(alive[self.random.index(alive.len())]);
        }
    }

    fn node_dies(&mut self, at: usize) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        if engine.nodes[at].reborn_at.is_none() {
            self.coverage.saw("a node actor died");
            engine.node_dies(at);
            // Its calls die with it; its sends run on unseen.
            self.nodes[at].sends.clear();
            self.nodes[at].tracks.clear();
        }
    }

    /// lnd restarts: what has no HTLC yet fails with NO_ROUTE, the rest goes on.
    fn node_restarts(&mut self, at: usize) {
        if !self.nodes[at].up {
            return;
        }
        self.coverage.saw("a node restarted");
        self.cut(at);
        self.nodes[at].up = false;
        self.nodes[at].life += 1;
        let ms = self.random.between(500, 8_000);
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

    /// No more faults: everything must come to its end now.
    pub fn calm_down(&mut self) {
        self.calm = true;
        if self.engine.is_none() {
            self.after(10, Happening::Restart);
        }
    }
}
