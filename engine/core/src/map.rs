//! The maps on the way of a payment: std's, with a hash function that costs a fifth of its own.
//!
//! It is seeded anew in each process, so a client that chooses keys does not know which collide.

pub use foldhash::fast::RandomState;

/// [`std::collections::HashMap`].
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
/// [`std::collections::HashSet`].
pub type HashSet<T> = std::collections::HashSet<T, RandomState>;
