//! The clone guard in this process (rule E18): which key it has, and how it ends, and stays ended,
//! when a node says that another engine has a copy of its journal.

use std::{
    fmt,
    sync::{Arc, Once, atomic::Ordering},
    thread,
    time::Duration,
};

use fulgurite_core::{
    Event, Lsn,
    book::Book,
    guard::{KeyId, NotAlone},
    port::Journal,
};
use fulgurite_journal::Opened;

use crate::{
    clock::now,
    end::end,
    message::NodeMessage,
    slot::{NodeSlot, Shared},
    witness::{EXIT_FENCED, text},
};

/// How often it is looked whether the nodes have revoked this engine's macaroons.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How often at most.
const LOOKS_MAX: u32 = 400;

/// This engine's root key at every node (rule E18). The installation is decided at the first start,
/// and durable before any node hears of it.
pub fn guard_key(opened: &Opened) -> KeyId {
    // Random but for the version's bits.
    let random = uuid::Uuid::new_v4().as_u128();
    let mut installation = opened.book.installation;
    if installation == 0 {
        installation = ((random >> 96) as u32 & 0x7fff_ffff).max(1);
        let lsn = opened.journal.append(Event::Installed { installation });
        opened.journal.watermark().block_until(lsn);
    }
    KeyId::new(installation, opened.epoch, random as u32)
}

/// Why nothing is paid from a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(NotAlone);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotAlone { lsn, node, time } = &self.0;
        write!(
            f,
            "at {} node {node} said that another engine has a copy of this journal: nothing is \
             sent from here, however often it is started. {}",
            text(*time),
            way_out(*lsn)
        )
    }
}

fn way_out(lsn: Lsn) -> String {
    format!(
        "Leave it stopped if it has the older copy. Only when the other engine is stopped for good, \
         and this journal is the newest: `fulgurite serve --take-over {lsn}`; see \
         docs/exactly-once.md, \"The clone guard\""
    )
}

/// Looks whether a node refused an engine with this journal before, and no person has decided
/// since. `taken_over` is the number of the refusal that a person overrides, once.
///
/// # Errors
/// When nothing may be paid from it.
pub fn may_start(book: &Book, taken_over: Option<Lsn>) -> Result<(), Refused> {
    match &book.not_alone {
        Some(not_alone) if taken_over != Some(not_alone.lsn) => Err(Refused(not_alone.clone())),
        Some(_) | None => Ok(()),
    }
}

/// Writes down that a person overrides the refusal, if there is one: the start was allowed by
/// [`may_start`].
pub fn take_over(opened: &Opened) {
    let Some(not_alone) = &opened.book.not_alone else {
        return;
    };
    let lsn = opened.journal.append(Event::TakenOver { time: now() });
    opened.journal.watermark().block_until(lsn);
    tracing::warn!(node = %not_alone.node,
        "a person says that no other engine has this journal: it takes over");
}

/// Another engine has a copy of this journal: nothing more is paid from this one, now and after
/// restarts. Returns; the process ends when that is durable and the nodes have revoked its keys.
pub(crate) fn end_fenced(shared: &Arc<Shared>, node: &NodeSlot, epoch: u32, reason: &str) {
    static ENDS: Once = Once::new();
    // Other nodes may say it meanwhile.
    ENDS.call_once(|| {
        // At once: from here on nothing starts at any node.
        shared.withdraws.store(true, Ordering::Release);
        let (shared, name) = (Arc::clone(shared), Arc::clone(&node.name));
        let reason = reason.to_owned();
        let ends = move || {
            let refused = Event::NotAlone { node: Arc::clone(&name), epoch, time: now() };
            let lsn = refuse(&shared, refused, |lsn| shared.journal.watermark().block_until(lsn));
            let left = wait_withdrawn(&shared);
            let line = format!(
                "node {name} says that this is not the only engine with its journal: \
                 {reason}. Nothing more is sent from here, however often it is started. {}{left}",
                way_out(lsn)
            );
            end(EXIT_FENCED, &line)
        };
        let thread = thread::Builder::new().name("fenced".to_owned()).spawn(ends);
        thread.expect("the process may start a thread");
    });
}

/// Writes a refusal down, and has the nodes delete this engine's keys only then: a process that is
/// killed between would start anew, and newer than the engine that it is a copy of.
pub(crate) fn refuse(shared: &Shared, refused: Event, wait_durable: impl FnOnce(Lsn)) -> Lsn {
    let lsn = shared.journal.append(refused);
    wait_durable(lsn);
    tell_all(shared);
    lsn
}

/// Has the nodes revoke this engine's macaroons, as far as they answer: a key of an engine that has
/// ended must stop no other. Returns what the last line says of those that did not.
pub(crate) fn withdraw(shared: &Shared) -> String {
    tell_all(shared);
    wait_withdrawn(shared)
}

fn tell_all(shared: &Shared) {
    // First: what nodes say of keys that go by this must not be taken for another engine's work.
    shared.withdraws.store(true, Ordering::Release);
    for node in &shared.nodes.present() {
        node.inbox.deliver(NodeMessage::Withdraw);
    }
}

/// Waits until the nodes have answered, or for two seconds; what the last line says of those that
/// did not delete the key.
pub(crate) fn wait_withdrawn(shared: &Shared) -> String {
    let nodes = shared.nodes.present();
    for _ in 0..LOOKS_MAX {
        if nodes.iter().all(|node| node.compared.lock().withdrawn.is_some()) {
            break;
        }
        thread::sleep(LOOK_AGAIN);
    }
    let left = nodes.iter().filter(|node| node.compared.lock().withdrawn != Some(true));
    let left: Vec<&str> = left.map(|node| &*node.name).collect();
    keys_left(&left)
}

/// What the last line says of nodes where this engine's key may be left.
fn keys_left(nodes: &[&str]) -> String {
    if nodes.is_empty() {
        return String::new();
    }
    format!(
        ". This engine's key could not be deleted at {}: until it is, it stops an engine that \
         starts there on this journal in the same epoch or an earlier one (\"Keys that are left\")",
        nodes.join(", ")
    )
}
