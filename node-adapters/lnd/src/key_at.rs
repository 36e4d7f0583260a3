//! What is known of this engine's key at one node (rule E18). It outlives an adapter that is opened
//! anew: the next one must neither bake a key again that somebody has deleted, nor leave it there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fulgurite_core::guard::KeyId;

/// This engine's key, and what is known of it at each node. Clones know the same.
#[derive(Clone, Debug)]
pub struct OwnKeys {
    /// Its id, the same at every node.
    pub id: KeyId,
    /// By the nodes' names.
    at: Arc<Mutex<HashMap<String, KeyAt>>>,
}

impl OwnKeys {
    /// A key that is at no node yet.
    pub fn new(id: KeyId) -> OwnKeys {
        OwnKeys { id, at: Arc::default() }
    }

    /// What is known of it at the node with this name, for each adapter that is opened there.
    pub fn at(&self, node: &str) -> KeyAt {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.entry(node.to_owned()).or_default().clone()
    }
}

/// This engine's key at one node. Clones know the same; the default knows of none.
#[derive(Clone, Debug, Default)]
pub struct KeyAt(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Its number, when it may be there: to be deleted when the engine ends.
    may_be: Option<u64>,
    /// The node where it certainly was, by its identity key.
    was_at: Option<Vec<u8>>,
}

impl KeyAt {
    /// It is baked now: whatever the node answers, it may be there.
    pub(crate) fn bakes(&self, number: u64) {
        self.known().may_be = Some(number);
    }

    /// The node with this identity has it.
    pub(crate) fn is_at(&self, identity_pubkey: &[u8]) {
        self.known().was_at = Some(identity_pubkey.to_vec());
    }

    /// It is deleted.
    pub(crate) fn is_deleted(&self) {
        self.known().may_be = None;
    }

    /// Its number, when it may be there.
    pub(crate) fn may_be(&self) -> Option<u64> {
        self.known().may_be
    }

    /// The node where it certainly was.
    pub(crate) fn was_at(&self) -> Option<Vec<u8>> {
        self.known().was_at.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each write is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
