//! What each step does.

use crate::{
    Action, Call, Entry, NODES, ORDERS, Payment, Phase, Protocol, Request, Rule, State, Status,
    Tracker,
};

impl Protocol {
    /// Takes one step.
    pub(crate) fn step(&self, state: &mut State, action: Action) {
        self.do_step(state, action);
        // A refusal that nobody waits for says nothing: fewer states.
        let trackers = state.trackers;
        state
            .refused
            .retain(|id| trackers.iter().flatten().any(|t| t.phase == Phase::Sending(*id)));
    }

    fn do_step(&self, state: &mut State, action: Action) {
        match action {
            Action::Order(order) => self.order(state, order),
            Action::Sync => state.disk = state.memory,
            Action::Start(order, node) => start(state, order, node),
            Action::Send(order) => send(state, order),
            Action::Cut(order) => {
                change(state, order, |tracker| tracker.unaccounted = true);
                ask(state, order);
            }
            Action::Update(order) | Action::Refusal(order) => ask(state, order),
            Action::Answer(order) => answer(state, order),
            Action::Unheard(order) => ask(state, order),
            Action::Hear(order) => self.hear(state, order),
            Action::Fence(order) => {
                change(state, order, |tracker| tracker.unaccounted = false);
                ask(state, order);
            }
            Action::Arrive(request) => arrive(state, request),
            Action::Expire(request) => drop(state.requests.remove(&request)),
            Action::Leave(node) => set(state, node, Status::InFlight),
            Action::End(node, true) => {
                set(state, node, Status::Succeeded);
                state.paid += 1;
            }
            Action::End(node, false) => set(state, node, Status::Failed),
            Action::EngineCrash => {
                state.gone_wrong[0] += 1;
                open(state);
            }
            Action::NodeCrash(node) => {
                state.gone_wrong[1] += 1;
                set(state, node, Status::Failed);
            }
            Action::Backup => state.backup = Some(state.disk),
            Action::Restore => self.restore(state),
            Action::Compare(node) => compare(state, node),
            Action::Cancel(order) => {
                state.gone_wrong[3] += 1;
                state.cancelling[order] = true;
                if let Payment::Queued(_) = state.memory[order] {
                    state.memory[order] = Payment::Cancelled;
                }
            }
        }
    }

    /// Rule E2: the hash has one owner.
    fn order(&self, state: &mut State, order: usize) {
        let owned = state.memory.iter().any(|payment| payment.claims_hash());
        let refused = owned && self.without != Some(Rule::Claim);
        state.memory[order] = if refused { Payment::Refused } else { Payment::Queued(0) };
    }

    /// An answer of the node; what it means for the attempt.
    fn hear(&self, state: &mut State, order: usize) {
        let (Some(tracker), Payment::InFlight(attempt, _)) =
            (state.trackers[order], state.memory[order])
        else {
            return;
        };
        let Phase::Asking(Call::Answered(status)) = tracker.phase else {
            return;
        };
        match status {
            Some(Status::Succeeded) => {
                state.memory[order] = Payment::Succeeded;
                state.trackers[order] = None;
            }
            Some(Status::Initiated | Status::InFlight) => ask(state, order),
            Some(Status::Failed) | None => {
                let accounted = !tracker.unaccounted || self.without == Some(Rule::Fence);
                let enough = tracker.resends >= self.limits.resends || state.cancelling[order];
                if accounted && (status.is_some() || enough) {
                    // Rule E12: over, and another attempt may go to any node.
                    let again = attempt < self.limits.attempts && !state.cancelling[order];
                    state.memory[order] = match state.cancelling[order] {
                        true if status.is_none() => Payment::Cancelled,
                        _ if again => Payment::Queued(attempt),
                        _ => Payment::Failed,
                    };
                    state.trackers[order] = None;
                } else if enough {
                    change(state, order, |tracker| tracker.phase = Phase::Fencing);
                } else {
                    change(state, order, |tracker| tracker.resends += 1);
                    send(state, order);
                }
            }
        }
    }

    /// An engine on a copy of an older journal. The other one is gone; its requests are not.
    fn restore(&self, state: &mut State) {
        state.gone_wrong[2] += 1;
        if let Some(backup) = state.backup {
            state.disk = backup;
            open(state);
            state.compared = [self.without == Some(Rule::Witness); NODES];
        }
    }
}

/// An engine opens the journal: asks for every open attempt, sends nothing.
fn open(state: &mut State) {
    state.memory = state.disk;
    state.cancelling = [false; ORDERS];
    for order in 0..ORDERS {
        let resumed = Tracker { phase: Phase::Asking(Call::Made), unaccounted: true, resends: 0 };
        let in_flight = matches!(state.memory[order], Payment::InFlight(..));
        state.trackers[order] = in_flight.then_some(resumed);
    }
}

fn start(state: &mut State, order: usize, node: usize) {
    if let Payment::Queued(made) = state.memory[order] {
        state.memory[order] = Payment::InFlight(made + 1, node);
        let phase = Phase::Starting;
        state.trackers[order] = Some(Tracker { phase, unaccounted: false, resends: 0 });
    }
}

fn send(state: &mut State, order: usize) {
    if let Payment::InFlight(attempt, node) = state.memory[order] {
        let id = free_id(state);
        state.requests.insert(Request { id, order, attempt, node });
        change(state, order, |tracker| tracker.phase = Phase::Sending(id));
    }
}

/// The lowest number that names no send any more: fewer states than counting on.
fn free_id(state: &State) -> u8 {
    let sending = |id| {
        let trackers = state.trackers.iter().flatten();
        trackers.into_iter().any(|tracker| tracker.phase == Phase::Sending(id))
    };
    let used = |id: &u8| {
        state.requests.iter().any(|request| request.id == *id)
            || state.nodes.iter().flatten().any(|entry| entry.by.id == *id)
            || sending(*id)
    };
    (1..u8::MAX).find(|id| !used(id)).expect("few sends live at once")
}

fn ask(state: &mut State, order: usize) {
    change(state, order, |tracker| tracker.phase = Phase::Asking(Call::Made));
}

fn answer(state: &mut State, order: usize) {
    if let Payment::InFlight(_, node) = state.memory[order] {
        let status = state.nodes[node].map(|entry| entry.status);
        change(state, order, |tracker| tracker.phase = Phase::Asking(Call::Answered(status)));
    }
}

/// lnd: one payment per hash, unless it failed.
fn arrive(state: &mut State, request: Request) {
    state.requests.remove(&request);
    let known = state.nodes[request.node];
    if known.is_some_and(|entry| entry.status != Status::Failed) {
        state.refused.insert(request.id);
    } else {
        state.nodes[request.node] = Some(Entry { by: request, status: Status::Initiated });
    }
}

/// Rule E18: what the node's books have and the journal does not know stops the engine; requests
/// of the older copy lose their macaroon's root key.
fn compare(state: &mut State, node: usize) {
    state.compared[node] = true;
    state.requests.retain(|request| request.node != node);
    let unknown = |entry: &Entry| {
        entry.status != Status::Failed && !made(state.memory[entry.by.order], entry.by)
    };
    if state.nodes[node].as_ref().is_some_and(unknown) {
        state.halted = true;
    }
}

/// The journal knows of the request's attempt.
fn made(payment: Payment, by: Request) -> bool {
    match payment {
        Payment::InFlight(attempt, node) => attempt == by.attempt && node == by.node,
        Payment::Succeeded => true,
        _ => false,
    }
}

fn set(state: &mut State, node: usize, status: Status) {
    if let Some(entry) = &mut state.nodes[node] {
        entry.status = status;
    }
}

fn change(state: &mut State, order: usize, change: impl FnOnce(&mut Tracker)) {
    if let Some(tracker) = &mut state.trackers[order] {
        change(tracker);
    }
}
