//! Bounded lock-free queues, the journal's ring and the wake-ups between threads.
//!
//! The only crate whose atomics order threads (others count): every claim about interleavings is
//! made here and explored by loom (`RUSTFLAGS="--cfg loom" cargo test --release -p fulgurite-inbox`). All
//! `unsafe` of the engine is here too, in [`ring`] and [`bell`].
//!
//! * [`Ring`]: a bounded queue whose tickets are numbers without gaps; the journal's LSNs.
//! * [`Bell`]: wakes the one consumer of something, a task or a thread.
//! * [`Inbox`]: two rings and a bell; what an actor reads its work from.
//! * [`Watermark`]: a number that only grows, and those who wait for it.

pub mod bell;
pub mod inbox;
pub mod ring;
mod sync;
pub mod watermark;

#[cfg(all(test, loom))]
mod loom_tests;

pub use bell::Bell;
pub use inbox::{Depth, Inbox, Limits};
pub use ring::Ring;
pub use watermark::Watermark;
