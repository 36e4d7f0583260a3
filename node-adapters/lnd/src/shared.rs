//! What the life of a node's connections and its commands share.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use fulgurite_core::{
    AttemptId,
    map::HashMap,
    port::{NodeEvent, Whose},
};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{channels::Wanted, config::LndConfig, grpc::CallFault, guard, session::Session};

/// What the node's life and its commands share.
pub(crate) struct Shared {
    pub(crate) config: LndConfig,
    /// Not a type parameter: what owns a node should not carry the type of a closure.
    pub(crate) events: Box<dyn Fn(NodeEvent)>,
    /// Nothing is reported after the node was dropped.
    pub(crate) dropped: Cell<bool>,
    /// There while the node can be used.
    pub(crate) session: RefCell<Option<Rc<Session>>>,
    /// The reading of the channels that the owner waits for.
    pub(crate) channels: Wanted,
    /// Its key was at the node: whoever deletes it cuts this engine off.
    pub(crate) has_key: Cell<bool>,
    /// This engine ends: it must leave no key behind.
    pub(crate) withdrawn: Cell<bool>,
    /// There was no session to delete the key over: whoever connects next does it and answers.
    pub(crate) owes_answer: Cell<bool>,
    /// Rings when that is so.
    pub(crate) owes: Notify,
    /// The Track call of each attempt that goes on.
    pub(crate) tracks: RefCell<HashMap<AttemptId, (u64, Task)>>,
}

impl Shared {
    pub(crate) fn report(&self, event: NodeEvent) {
        if !self.dropped.get() {
            (self.events)(event);
        }
    }

    /// Looks whether a call was refused because lnd has no key for our macaroon any more: then this
    /// engine is cut off, and says so at once, for its other nodes too.
    /// `caller` is the session that the call was made over.
    pub(crate) fn is_key_gone(&self, fault: &CallFault, caller: &Weak<Session>) -> bool {
        let is_gone = guard::is_key_gone(&self.config, fault);
        if is_gone {
            // A call of an earlier session may end late: it is not this one's end.
            let is_present =
                |session: &mut Rc<Session>| Weak::as_ptr(caller) == Rc::as_ptr(session);
            if let Some(session) = self.session.borrow_mut().take_if(is_present) {
                session.key_gone.notify_one();
            }
            // What it deletes itself cuts it off from nothing.
            if let Some(guard) = self.config.guard.as_ref().filter(|_| !self.withdrawn.get()) {
                self.report(guard::gone(guard));
            }
        }
        is_gone
    }

    /// Reports what came of deleting this engine's own key.
    pub(crate) fn report_withdrawn(&self, deleted: Result<(), String>, key: Option<u64>) {
        self.owes_answer.set(false);
        let deleted = deleted.map_err(|error| match key {
            Some(key) => format!("root key {key}: {error}"),
            None => error,
        });
        self.report(NodeEvent::Revoked(Whose::Own, deleted));
    }

    pub(crate) fn session(&self) -> Option<Rc<Session>> {
        self.session.borrow().clone()
    }
}

/// Ends a task when it is dropped.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Starts a task of the current `LocalSet`.
    pub(crate) fn start(future: impl Future<Output = ()> + 'static) -> Task {
        Task(tokio::task::spawn_local(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
