//! How a node stands, over restarts: its identity, whether it may be sent to, and why not.
//!
//! ```text
//!            drain                      another identity, or it forgot a payment
//!  in use ◄────────► draining    any ─────────────────────────────────────────► quarantined
//!           undrain                                                    trust ◄──────┘
//! ```
//!
//! Draining (rule E22) and quarantine (rule E19) are apart: a draining node can be quarantined.

use std::sync::Arc;

use crate::{id::PaymentId, order::Sealed, time::UnixMs};

/// The most payments that are named here; the journal has all.
const CONTRADICTED_MAX: usize = 100;

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The identity key that it had; empty before its first connection.
    pub identity_pubkey: Arc<[u8]>,
    /// Why nothing is sent to it until a person trusts it.
    pub quarantine: Option<Quarantine>,
    /// No new attempt starts there.
    pub draining: bool,
    /// Payments that it showed as paid after they had ended otherwise (rule E14), in that order.
    pub contradicted: Vec<PaymentId>,
    /// When a person trusted it with another database than before, or one that forgot: what was
    /// sent before then, it may never have known.
    pub replaced: Option<UnixMs>,
}

/// Why a node is not believed (rule E19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Quarantine {
    /// Its identity key is another one: what is open was sent to another node.
    IdentityChanged = 1,
    /// It does not know a payment that it had shown: its database is older, or another.
    PaymentForgotten = 2,
    /// A person said that it is lost for ever.
    Lost = 3,
}

/// What happened to a node: the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// It showed its identity key for the first time.
    Identified {
        /// The key, 33 bytes.
        identity_pubkey: Arc<[u8]>,
    },
    /// It is not believed any more: nothing is sent, and what is open there is unresolved.
    Quarantined(Quarantine),
    /// A person checked it: it is sent to again. Of what was sent before, its word counts only
    /// when it is the node that it was (ADR 11).
    Trusted {
        /// The identity key that it has now.
        identity_pubkey: Arc<[u8]>,
        /// Who checked.
        by: Sealed,
        /// What was checked.
        checked: Sealed,
    },
    /// No new attempt starts there.
    Drained {
        /// Who wanted it.
        by: Sealed,
    },
    /// New attempts start there again.
    Undrained {
        /// Who wanted it.
        by: Sealed,
    },
    /// It shows a payment as paid that had ended otherwise, with all of its batch (rule E14).
    PaidAfterAll(PaymentId),
}

impl NodeChange {
    /// Payments may be sent there because of it, perhaps: it must be durable before they are.
    pub fn lets_send(&self) -> bool {
        matches!(self, NodeChange::Trusted { .. } | NodeChange::Undrained { .. })
    }
}

/// What the world says about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is connected, with this identity key.
    Connected(Arc<[u8]>),
    /// It forgot a payment.
    Forgot,
    /// A person says that it is lost for ever.
    Lost,
    /// It shows a payment as paid that had ended otherwise.
    PaidAfterAll(PaymentId),
    /// A person trusts it as it is now.
    Trust {
        /// The identity key that it has now; `None` when it is not connected.
        identity_pubkey: Option<Arc<[u8]>>,
        /// Who.
        by: Sealed,
        /// What was checked.
        checked: Sealed,
    },
    /// A person wants it drained.
    Drain(Sealed),
    /// A person wants it back.
    Undrain(Sealed),
}

impl Standing {
    /// What an input means; `None` when the node stands so already. Changes nothing.
    pub fn decide(&self, input: &Input) -> Option<NodeChange> {
        match input {
            Input::Connected(key) if self.identity_pubkey.is_empty() => {
                Some(NodeChange::Identified { identity_pubkey: Arc::clone(key) })
            }
            Input::Connected(key) if *key != self.identity_pubkey => {
                self.quarantined(Quarantine::IdentityChanged)
            }
            Input::Connected(_) => None,
            Input::Forgot => self.quarantined(Quarantine::PaymentForgotten),
            Input::Lost => self.quarantined(Quarantine::Lost),
            Input::PaidAfterAll(payment) => {
                let known = self.contradicted.contains(payment);
                (!known).then_some(NodeChange::PaidAfterAll(*payment))
            }
            Input::Trust { identity_pubkey, by, checked } => {
                if self.is_believed() && self.contradicted.is_empty() {
                    return None;
                }
                let key = identity_pubkey.as_ref().unwrap_or(&self.identity_pubkey);
                let identity_pubkey = Arc::clone(key);
                let (by, checked) = (by.clone(), checked.clone());
                Some(NodeChange::Trusted { identity_pubkey, by, checked })
            }
            Input::Drain(by) => (!self.draining).then(|| NodeChange::Drained { by: by.clone() }),
            Input::Undrain(by) => self.draining.then(|| NodeChange::Undrained { by: by.clone() }),
        }
    }

    fn quarantined(&self, why: Quarantine) -> Option<NodeChange> {
        self.quarantine.is_none().then_some(NodeChange::Quarantined(why))
    }

    /// Applies what was decided here at this time, or read from the journal.
    pub fn apply(&mut self, change: &NodeChange, time: UnixMs) {
        match change {
            NodeChange::Identified { identity_pubkey } => {
                self.identity_pubkey = Arc::clone(identity_pubkey);
            }
            NodeChange::Quarantined(why) => self.quarantine = Some(*why),
            NodeChange::Trusted { identity_pubkey, .. } => {
                let same = self.identity_pubkey == *identity_pubkey;
                match self.quarantine {
                    // It was another node for a while, and is the one that it was.
                    None | Some(Quarantine::IdentityChanged) if same => {}
                    _ => self.replaced = self.replaced.max(Some(time)),
                }
                self.identity_pubkey = Arc::clone(identity_pubkey);
                self.quarantine = None;
                self.contradicted.clear();
            }
            NodeChange::Drained { .. } => self.draining = true,
            NodeChange::Undrained { .. } => self.draining = false,
            NodeChange::PaidAfterAll(payment) if self.contradicted.len() < CONTRADICTED_MAX => {
                self.contradicted.push(*payment);
            }
            NodeChange::PaidAfterAll(_) => {}
        }
    }

    /// Payments may be sent there.
    pub fn may_send(&self) -> bool {
        !self.draining && self.quarantine.is_none()
    }

    /// What it says of an attempt that was decided at `started` may come from a database that
    /// never knew it, although a person trusts the node.
    pub fn may_not_know(&self, started: UnixMs) -> bool {
        self.replaced.is_some_and(|replaced| started <= replaced)
    }

    /// Its word counts.
    pub fn is_believed(&self) -> bool {
        self.quarantine.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BatchId;

    #[test]
    #[rustfmt::skip] // A table: one line is one input and what comes of it.
    fn a_node_is_sent_to_unless_it_drains_or_is_not_believed() {
        let key = |byte: u8| Arc::from([byte; 33]);
        let who = || Sealed::plain("ada");
        let trust = |identity_pubkey| Input::Trust { identity_pubkey, by: who(), checked: who() };
        let paid = BatchId::from_uuid(1 << 80).payment(1);
        let mut standing = Standing::default();
        for (input, changes, sends, believed) in [
            (trust(Some(key(1))),       false, true,  true),
            (Input::Connected(key(1)),  true,  true,  true),
            (Input::Connected(key(1)),  false, true,  true),
            (Input::Undrain(who()),     false, true,  true),
            (Input::Drain(who()),       true,  false, true),
            (Input::Drain(who()),       false, false, true),
            (Input::Forgot,             true,  false, false),
            (Input::Undrain(who()),     true,  false, false),
            (Input::Forgot,             false, false, false),
            (trust(None),               true,  true,  true),
            (Input::Connected(key(1)),  false, true,  true),
            (Input::Connected(key(2)),  true,  false, false),
            (Input::Connected(key(1)),  false, false, false),
            (trust(Some(key(2))),       true,  true,  true),
            (Input::Connected(key(2)),  false, true,  true),
            (Input::PaidAfterAll(paid), true,  true,  true),
            (Input::PaidAfterAll(paid), false, true,  true),
            (trust(None),               true,  true,  true),
            (trust(None),               false, true,  true),
            (Input::Lost,               true,  false, false),
            (Input::Lost,               false, false, false),
            (trust(None),               true,  true,  true),
            (Input::Connected(key(1)),  true,  false, false),
        ] {
            let change = standing.decide(&input);
            assert_eq!(change.is_some(), changes, "{input:?}");
            change.iter().for_each(|change| standing.apply(change, UnixMs(1)));
            let now = (standing.may_send(), standing.is_believed());
            assert_eq!(now, (sends, believed), "{input:?}");
        }
    }
    #[test]
    fn what_was_sent_before_a_node_was_replaced_is_not_known_to_it() {
        use Quarantine::{IdentityChanged, Lost, PaymentForgotten};
        let key = |byte: u8| -> Arc<[u8]> { Arc::from([byte; 33]) };
        for (why, trusted, replaced) in [
            (IdentityChanged, 1, false),
            (IdentityChanged, 2, true),
            (PaymentForgotten, 1, true),
            (Lost, 1, true),
        ] {
            let mut standing = Standing { identity_pubkey: key(1), ..Standing::default() };
            standing.apply(&NodeChange::Quarantined(why), UnixMs(10));
            assert!(!standing.may_not_know(UnixMs(5)), "{why:?}: its quarantine says so");
            let (by, checked) = (Sealed::plain("ada"), Sealed::plain("all"));
            let trust = NodeChange::Trusted { identity_pubkey: key(trusted), by, checked };
            standing.apply(&trust, UnixMs(20));
            assert_eq!(standing.may_not_know(UnixMs(20)), replaced, "{why:?}, key {trusted}");
            assert!(!standing.may_not_know(UnixMs(21)), "{why:?}: sent to the one that is trusted");
        }
    }
}
