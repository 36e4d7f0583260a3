//! The maps on the way of a payment: std's, with a hash function that costs a fifth of its own.
//!
//! It is seeded anew in each process. That is no proof against a client who may choose keys and
//! measure; those whom the doors let in are the operator's own.

pub use foldhash::fast::RandomState;

/// [`std::collections::HashMap`].
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
/// [`std::collections::HashSet`].
pub type HashSet<T> = std::collections::HashSet<T, RandomState>;
