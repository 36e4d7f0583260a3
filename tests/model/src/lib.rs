//! The exactly-once protocol as a model, small enough to be explored whole.
//!
//! Two orders of one payment hash, two nodes that pay by hash, one engine with a journal that
//! syncs when it likes; crashes of the engine and of nodes; requests and answers that are lost,
//! late or overtaken; the fence; a journal restored from a backup; an operator who cancels. States
//! are named as in `fulgurite_core`. Time is left out: a request may lose its power to start a
//! payment at any moment (its macaroon expires, its deadline passes), and the fence is the proof
//! that all of an attempt's requests have.
//!
//! The restored journal's witness and clone guard (rule E18) are in it.

mod actions;
mod steps;

use std::collections::BTreeSet;

use stateright::{Model, Property};

pub use actions::Action;

/// The orders, and the nodes.
pub const ORDERS: usize = 2;
/// How many nodes there are.
pub const NODES: usize = 2;

/// The protocol, as it is or with a rule left out.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The rule that is left out.
    pub without: Option<Rule>,
    /// How often what goes wrong may.
    pub limits: Limits,
}

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// E1, E4: an attempt is durable before its first send.
    Durable,
    /// E2: one payment owns the hash.
    Claim,
    /// E12, E13: failed and never sent wait for the fence.
    Fence,
    /// E18: a restored journal is compared with the nodes' books before anything is sent.
    Witness,
}

/// How often what goes wrong may.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts of an order, at least 1.
    pub attempts: u8,
    /// Sends of an attempt after its first.
    pub resends: u8,
    /// Crashes of the engine.
    pub engine_crashes: u8,
    /// Crashes of nodes.
    pub node_crashes: u8,
    /// Journals restored from a backup.
    pub restores: u8,
    /// Cancels by the operator.
    pub cancels: u8,
}

/// Where an order stands; the states of `fulgurite_core::payment`, and those before it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payment {
    /// The client has not sent it yet.
    New,
    /// Another order owns its hash: refused at the door.
    Refused,
    /// Nothing in flight; so many attempts were made.
    Queued(u8),
    /// This attempt is open at this node.
    InFlight(u8, usize),
    /// Paid.
    Succeeded,
    /// Not paid.
    Failed,
    /// Not paid, as asked.
    Cancelled,
}

impl Payment {
    /// It never changes any more.
    pub fn is_final(self) -> bool {
        use Payment::{Cancelled, Failed, Refused, Succeeded};
        matches!(self, Refused | Succeeded | Failed | Cancelled)
    }

    /// Nobody else may pay the hash (rule E2).
    pub fn claims_hash(self) -> bool {
        use Payment::{InFlight, Queued, Succeeded};
        matches!(self, Queued(_) | InFlight(..) | Succeeded)
    }
}

/// What the engine waits for with an open attempt; the phases of `fulgurite_core::tracker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The attempt is not durable yet.
    Starting,
    /// The stream of this send.
    Sending(u8),
    /// The answer to a Track call.
    Asking(Call),
    /// The fence.
    Fencing,
}

/// A Track call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// On its way to the node.
    Made,
    /// The answer, as the node's books were then, is on its way back.
    Answered(Option<Status>),
}

/// The engine's knowledge of an open attempt. It dies with the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tracker {
    /// What it waits for.
    pub phase: Phase,
    /// A send is not accounted for (rule E11).
    pub unaccounted: bool,
    /// How often it was sent again.
    pub resends: u8,
}

/// A `SendPaymentV2` that has not reached its node and may still start a payment there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Which send.
    pub id: u8,
    /// Of which order.
    pub order: usize,
    /// Of which attempt.
    pub attempt: u8,
    /// To which node.
    pub node: usize,
}

/// What a node's books say of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The request that started it.
    pub by: Request,
    /// How it stands.
    pub status: Status,
}

/// The state of a payment at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// No HTLC yet.
    Initiated,
    /// On its way.
    InFlight,
    /// Paid.
    Succeeded,
    /// Not paid; the hash may run again.
    Failed,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What is durable.
    pub disk: [Payment; ORDERS],
    /// What the engine knows; as durable after a crash.
    pub memory: [Payment; ORDERS],
    /// The engine's open attempts.
    pub trackers: [Option<Tracker>; ORDERS],
    /// The operator wants them cancelled.
    pub cancelling: [bool; ORDERS],
    /// Requests on their way.
    pub requests: BTreeSet<Request>,
    /// Sends that a node refused: the hash is known there.
    pub refused: BTreeSet<u8>,
    /// The nodes' books.
    pub nodes: [Option<Entry>; NODES],
    /// How often the hash was paid.
    pub paid: u8,
    /// A copy of the disk.
    pub backup: Option<[Payment; ORDERS]>,
    /// The nodes that were compared with the journal since it was opened.
    pub compared: [bool; NODES],
    /// The engine refuses to go on: a node paid what the journal does not know.
    pub halted: bool,
    /// What has gone wrong so far.
    pub gone_wrong: [u8; 4],
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            disk: [Payment::New; ORDERS],
            memory: [Payment::New; ORDERS],
            trackers: [None; ORDERS],
            cancelling: [false; ORDERS],
            requests: BTreeSet::new(),
            refused: BTreeSet::new(),
            nodes: [None; NODES],
            paid: 0,
            backup: None,
            compared: [true; NODES],
            halted: false,
            gone_wrong: [0; 4],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the hash is paid at most once", |_, state: &State| state.paid <= 1),
            Property::always("one attempt is alive at most", |_, state: &State| {
                state.alive().count() <= 1
            }),
            Property::always("no result contradicts a node", |_, state: &State| {
                state.disk.iter().enumerate().all(|(order, payment)| match payment {
                    Payment::Failed | Payment::Cancelled => {
                        state.alive().all(|entry| entry.by.order != order)
                    }
                    Payment::Succeeded => state.paid == 1,
                    _ => true,
                })
            }),
            Property::eventually("every order ends", |_, state: &State| {
                state.halted || state.disk.iter().all(|payment| payment.is_final())
            }),
            Property::sometimes("an order is paid", |_, state: &State| {
                state.disk.contains(&Payment::Succeeded)
            }),
            Property::sometimes(
                "the second order is paid after the first failed",
                |_, state: &State| state.disk == [Payment::Failed, Payment::Succeeded],
            ),
            Property::sometimes("an order is cancelled", |_, state: &State| {
                state.disk.contains(&Payment::Cancelled)
            }),
            Property::sometimes("a duplicate is refused", |_, state: &State| {
                state.disk.contains(&Payment::Refused)
            }),
        ]
    }
}

impl State {
    /// What runs or is paid, at any node.
    pub fn alive(&self) -> impl Iterator<Item = &Entry> {
        self.nodes.iter().flatten().filter(|entry| entry.status != Status::Failed)
    }
}
