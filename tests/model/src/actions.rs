//! What can happen next.

use crate::{Call, NODES, ORDERS, Payment, Phase, Protocol, Request, Rule, State, Status};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The client sends an order; the door accepts or refuses it.
    Order(usize),
    /// The journal syncs.
    Sync,
    /// An order gets an attempt at a node.
    Start(usize, usize),
    /// A durable attempt is sent for the first time.
    Send(usize),
    /// The stream of the last send ends without a word: cut, or at its deadline.
    Cut(usize),
    /// A `Payment` message on the send's own stream.
    Update(usize),
    /// The node's refusal on the send's own stream.
    Refusal(usize),
    /// A Track call is answered by its node.
    Answer(usize),
    /// The answer reaches the engine.
    Hear(usize),
    /// The answer or the call is lost: the engine asks again.
    Unheard(usize),
    /// The fence is up for an attempt.
    Fence(usize),
    /// A request reaches its node.
    Arrive(Request),
    /// A request loses its power to start a payment, or is lost.
    Expire(Request),
    /// A node's payment goes out.
    Leave(usize),
    /// A node's payment ends, paid or not.
    End(usize, bool),
    /// The engine dies, and starts on what is durable.
    EngineCrash,
    /// A node dies: what has no HTLC fails.
    NodeCrash(usize),
    /// A copy of the disk is made.
    Backup,
    /// The engine is started on the copy.
    Restore,
    /// A node's books are compared with a restored journal.
    Compare(usize),
    /// The operator cancels an order.
    Cancel(usize),
}

impl Protocol {
    /// Everything that can happen now.
    pub(crate) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        self.by_the_world(state, actions);
        if state.halted {
            return;
        }
        if state.disk != state.memory {
            actions.push(Action::Sync);
        }
        for order in 0..ORDERS {
            self.by_the_engine(state, order, actions);
        }
        let Limits { engine, restores } = self.left(state);
        if engine {
            actions.push(Action::EngineCrash);
        }
        if restores {
            actions.push(if state.backup.is_none() { Action::Backup } else { Action::Restore });
        }
        for node in 0..NODES {
            if !state.compared[node] {
                actions.push(Action::Compare(node));
            }
        }
    }

    fn by_the_engine(&self, state: &State, order: usize, actions: &mut Vec<Action>) {
        let compared = state.compared.iter().all(|compared| *compared);
        match state.memory[order] {
            Payment::New => actions.push(Action::Order(order)),
            Payment::Queued(_) if compared => {
                actions.extend((0..NODES).map(|node| Action::Start(order, node)));
            }
            _ => {}
        }
        let may_cancel = matches!(state.memory[order], Payment::Queued(_) | Payment::InFlight(..));
        let cancels = state.gone_wrong[3] < self.limits.cancels;
        if may_cancel && cancels && !state.cancelling[order] {
            actions.push(Action::Cancel(order));
        }
        let (Some(tracker), true) = (&state.trackers[order], compared) else {
            return;
        };
        match tracker.phase {
            Phase::Starting => {
                let durable = state.disk[order] == state.memory[order];
                if durable || self.without == Some(Rule::Durable) {
                    actions.push(Action::Send(order));
                }
            }
            Phase::Sending(id) => {
                actions.push(Action::Cut(order));
                if state.nodes.iter().flatten().any(|entry| entry.by.id == id) {
                    actions.push(Action::Update(order));
                }
                if state.refused.contains(&id) {
                    actions.push(Action::Refusal(order));
                }
            }
            Phase::Asking(Call::Made) => actions.push(Action::Answer(order)),
            Phase::Asking(Call::Answered(_)) => {
                actions.push(Action::Hear(order));
                actions.push(Action::Unheard(order));
            }
            Phase::Fencing => {
                let own = |request: &Request| request.order == order;
                if !state.requests.iter().any(own) {
                    actions.push(Action::Fence(order));
                }
            }
        }
    }

    fn by_the_world(&self, state: &State, actions: &mut Vec<Action>) {
        for request in &state.requests {
            actions.push(Action::Arrive(*request));
            actions.push(Action::Expire(*request));
        }
        for (node, entry) in state.nodes.iter().enumerate() {
            match entry.map(|entry| entry.status) {
                Some(Status::Initiated) => {
                    actions.push(Action::Leave(node));
                    if state.gone_wrong[1] < self.limits.node_crashes {
                        actions.push(Action::NodeCrash(node));
                    }
                }
                Some(Status::InFlight) => {
                    actions.extend([true, false].map(|paid| Action::End(node, paid)));
                }
                Some(Status::Succeeded | Status::Failed) | None => {}
            }
        }
    }

    fn left(&self, state: &State) -> Limits {
        let engine = state.gone_wrong[0] < self.limits.engine_crashes;
        Limits { engine, restores: state.gone_wrong[2] < self.limits.restores }
    }
}

/// What may still go wrong.
struct Limits {
    engine: bool,
    restores: bool,
}
