//! What happened in a run, how often, and what never did.

use std::collections::BTreeMap;

use fulgurite_core::{
    event::{Contradiction, Event, Failure, NeverSent, PauseReason, PaymentChange, Verdict},
    standing::NodeChange,
};

use crate::fault::Fault;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something that was made to go wrong.
    Fault,
    /// A state of a payment, a batch, an attempt at its node or a breaker.
    State,
    /// An event of the journal.
    Event,
    /// A moment in between, worth knowing to have happened.
    Moment,
}

impl Kind {
    /// All kinds, in the order of the table.
    pub const ALL: [Kind; 4] = [Kind::Fault, Kind::State, Kind::Event, Kind::Moment];

    /// The word in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Fault => "fault",
            Kind::State => "state",
            Kind::Event => "event",
            Kind::Moment => "moment",
        }
    }
}

/// How often what happened, over all seeds of a run.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<(Kind, &'static str), u64>,
}

impl Coverage {
    /// It happened.
    pub fn saw(&mut self, kind: Kind, what: &'static str) {
        *self.counts.entry((kind, what)).or_default() += 1;
    }

    /// An event became durable.
    pub(crate) fn saw_event(&mut self, event: &Event) {
        let (name, detail) = names(event);
        self.saw(Kind::Event, name);
        if let Some(detail) = detail {
            self.saw(Kind::Event, detail);
        }
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Coverage) {
        for (what, times) in &other.counts {
            *self.counts.entry(*what).or_default() += times;
        }
    }

    /// Everything that happened or must happen, with its count, which can be 0.
    pub fn table(&self) -> BTreeMap<(Kind, &'static str), u64> {
        let mut table: BTreeMap<_, _> = required().map(|what| (what, 0)).collect();
        table.extend(self.counts.clone());
        table
    }

    /// What must happen in a run of some length and did not.
    pub fn missing(&self) -> Vec<(Kind, &'static str)> {
        required().filter(|what| !self.counts.contains_key(what)).collect()
    }
}

fn required() -> impl Iterator<Item = (Kind, &'static str)> {
    let faults = Fault::ALL.iter().map(|fault| (Kind::Fault, fault.name()));
    let states = STATES.iter().map(|state| (Kind::State, *state));
    let events = EVENTS.iter().map(|event| (Kind::Event, *event));
    let moments = MOMENTS.iter().map(|moment| (Kind::Moment, *moment));
    faults.chain(states).chain(events).chain(moments)
}

/// The name of an event, and of what is special about it.
fn names(event: &Event) -> (&'static str, Option<&'static str>) {
    match event {
        Event::EngineStarted { .. } => ("EngineStarted", None),
        Event::OrdersAdded { .. } => ("OrdersAdded", None),
        Event::BatchAccepted(_) => ("BatchAccepted", None),
        Event::UploadDropped { .. } => ("UploadDropped", None),
        Event::BatchPaused { reason, .. } => ("BatchPaused", Some(pause(*reason))),
        Event::BatchResumed { .. } => ("BatchResumed", None),
        Event::BatchCancelRequested { .. } => ("BatchCancelRequested", None),
        Event::BatchFinished { .. } => ("BatchFinished", None),
        Event::Payment { change, .. } => payment_names(change),
        Event::PaymentsCancelled { .. } => ("PaymentsCancelled", None),
        Event::Barrier => ("Barrier", None),
        Event::SendBounds(_) => ("SendBounds", None),
        Event::Node { change, .. } => ("Node", Some(node_names(change))),
        Event::Installed { .. } => ("Installed", None),
        Event::NodeCompared { .. } => ("NodeCompared", None),
        Event::PaidElsewhere { .. } => ("PaidElsewhere", None),
        Event::NotAlone { .. } => ("NotAlone", None),
        Event::TakenOver { .. } => ("TakenOver", None),
    }
}

fn payment_names(change: &PaymentChange) -> (&'static str, Option<&'static str>) {
    match change {
        PaymentChange::AttemptStarted(_) => ("AttemptStarted", None),
        PaymentChange::AttemptSettled { .. } => ("AttemptSettled", None),
        PaymentChange::AttemptFailed { .. } => ("AttemptFailed", None),
        PaymentChange::AttemptNeverSent { cause, .. } => {
            ("AttemptNeverSent", Some(never_sent(*cause)))
        }
        PaymentChange::Failed(failure) => ("Failed", Some(failed(*failure))),
        PaymentChange::Cancelled => ("Cancelled", None),
        PaymentChange::AttemptStuck { .. } => ("AttemptStuck", None),
        PaymentChange::Contradicted { contradiction, .. } => {
            ("Contradicted", Some(contradicted(*contradiction)))
        }
        PaymentChange::Resolved(resolution) => ("Resolved", Some(resolved(resolution.verdict))),
        PaymentChange::AttemptConfirmed { .. } => ("AttemptConfirmed", None),
        PaymentChange::AttemptSuspended { .. } => ("AttemptSuspended", None),
    }
}

fn node_names(change: &NodeChange) -> &'static str {
    match change {
        NodeChange::Identified { .. } => "Node: identified",
        NodeChange::Quarantined(_) => "Node: quarantined",
        NodeChange::Trusted { .. } => "Node: trusted",
        NodeChange::Drained { .. } => "Node: drained",
        NodeChange::Undrained { .. } => "Node: undrained",
        NodeChange::PaidAfterAll(_) => "Node: paid after all",
    }
}

fn pause(reason: PauseReason) -> &'static str {
    match reason {
        PauseReason::Requested => "BatchPaused: requested",
        PauseReason::StartPaused => "BatchPaused: to start paused",
        PauseReason::FailureThreshold => "BatchPaused: failure threshold",
    }
}

fn never_sent(cause: NeverSent) -> &'static str {
    match cause {
        NeverSent::InvoiceExpired => "AttemptNeverSent: invoice expired",
        NeverSent::SelfPayment => "AttemptNeverSent: own invoice",
        NeverSent::Invalid => "AttemptNeverSent: invalid",
        NeverSent::Withdrawn => "AttemptNeverSent: withdrawn",
        NeverSent::NotDelivered => "AttemptNeverSent: not delivered",
    }
}

fn failed(failure: Failure) -> &'static str {
    match failure {
        Failure::InvoiceExpired => "Failed: invoice expired",
        Failure::DeadlinePassed => "Failed: deadline passed",
        Failure::NoRoute
        | Failure::InsufficientLiquidity
        | Failure::RecipientRefused
        | Failure::AttemptsExhausted
        | Failure::NodeRefused
        | Failure::CancelRequested
        | Failure::OperatorDecision => "Failed: otherwise",
    }
}

fn contradicted(what: Contradiction) -> &'static str {
    match what {
        Contradiction::WrongPreimage => "Contradicted: wrong preimage",
        Contradiction::PaidTooMuch => "Contradicted: paid too much",
        Contradiction::SucceededAfterFinal => "Contradicted: succeeded after final",
        Contradiction::PaidBefore => "Contradicted: paid before",
        Contradiction::Forgotten => "Contradicted: forgotten",
    }
}

fn resolved(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Paid(_) => "Resolved: paid",
        Verdict::NotPaid => "Resolved: not paid",
    }
}

const STATES: &[&str] = &[
    "attempt asking",
    "attempt fencing",
    "attempt over",
    "attempt permission",
    "attempt sending",
    "attempt waiting",
    "attempt watching",
    "batch cancelling",
    "batch finished",
    "batch paused",
    "batch running",
    "breaker closed",
    "breaker half_open",
    "breaker open",
    "payment cancelled",
    "payment failed",
    "payment in_flight",
    "payment queued",
    "payment stuck",
    "payment succeeded",
    "payment unresolved",
];

const EVENTS: &[&str] = &[
    "AttemptConfirmed",
    "AttemptFailed",
    "AttemptNeverSent",
    "AttemptNeverSent: invalid",
    "AttemptNeverSent: invoice expired",
    "AttemptNeverSent: not delivered",
    "AttemptNeverSent: own invoice",
    "AttemptNeverSent: withdrawn",
    "AttemptSettled",
    "AttemptStarted",
    "AttemptStuck",
    "AttemptSuspended",
    "Barrier",
    "BatchAccepted",
    "BatchCancelRequested",
    "BatchFinished",
    "BatchPaused",
    "BatchPaused: failure threshold",
    "BatchPaused: requested",
    "BatchResumed",
    "Cancelled",
    "Contradicted",
    "Contradicted: forgotten",
    "Contradicted: paid before",
    "Contradicted: paid too much",
    "Contradicted: succeeded after final",
    "Contradicted: wrong preimage",
    "EngineStarted",
    "Failed",
    "Failed: deadline passed",
    "Failed: invoice expired",
    "Node",
    "Node: drained",
    "Node: quarantined",
    "Node: trusted",
    "Node: undrained",
    "NodeCompared",
    "OrdersAdded",
    "PaidElsewhere",
    "PaymentsCancelled",
    "Resolved",
    "Resolved: not paid",
    "Resolved: paid",
    "SendBounds",
    "UploadDropped",
];

const MOMENTS: &[&str] = &[
    "a crash lost records",
    "a duplicate was refused",
    "a failed hash ran again",
    "a fence rose",
    "a key was refused for another body",
    "a key was repeated and answered as before",
    "a late request started a payment",
    "a long attempt left the window",
    "a node was compared with the journal",
    "a person's word was not taken",
    "a request came after its engine had died, come back and asked",
    "a send was repeated",
    "a silent attempt was asked for",
    "a stuck payment came to its end",
    "an attempt was resumed",
    "an old copy of the journal ended itself",
    "an old copy of the journal had missed nothing",
    "an old copy of the journal was stopped",
    "an attempt was withdrawn with its node",
    "an event for a dead actor was lost",
    "an order moved to another node",
    "an upload was lost with its engine",
    "channels were busy",
    "held message dropped at the deadline",
    "permission denied",
    "permitted",
    "records survived a crash unsynced",
    "request refused: already exists",
    "request refused: invoice expired",
    "request refused: macaroon expired",
    "the deadline ended a silent stream",
    "the deadline ended a stream that had shown its payment",
];
