//! The actors: supervised shells around the rules of `fulgurite-core`, and the [`Engine`] handle
//! that the doors hold.
//!
//! | actor | one per | its work |
//! |---|---|---|
//! | [`batch_actor::BatchActor`] | batch; one for all singles | [`batch_work`], `batch_dispatch` |
//! | [`node_actor::NodeActor`] | LND node | [`node_work`] and the `node_` modules |
//! | [`channel_actor::ChannelActor`] | channel | `fulgurite_core::channel` |
//! | [`supervisor::Supervisor`] | arbiter | builds the others, and anew when they die |
//!
//! The only crate that knows actix.

#[cfg(test)]
mod actor_deaths;
pub mod batch_actor;
mod batch_dispatch;
pub mod batch_work;
pub mod busy;
pub mod channel_actor;
pub mod channels;
pub mod claims;
pub mod clock;
pub mod clone_guard;
pub mod contact;
mod difference;
mod end;
pub mod engine;
pub mod fleet;
mod fleet_work;
#[cfg(test)]
mod guard_waits;
mod held;
pub mod intake;
pub mod message;
pub mod metrics;
pub mod node_actor;
mod node_admission;
mod node_inspect;
mod node_standing;
mod node_stuck;
mod node_time;
mod node_tracking;
mod node_witness;
pub mod node_work;
pub mod operator;
pub mod operator_node;
pub mod pump;
pub mod release;
pub mod room;
#[cfg(test)]
mod sends_wait;
pub mod slot;
pub mod start;
pub mod status;
pub mod supervisor;
pub mod upload;
#[cfg(test)]
mod wake_ups;
pub mod watcher;
pub mod witness;
mod witness_thread;

pub use engine::Engine;
pub use start::{NodeOptions, Options, start};
