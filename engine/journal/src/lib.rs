//! The one journal: group commits in RocksDB, its readers, views and snapshots.
//!
//! ```text
//!  append ──► ring ──► writer ──(synced)──► durable LSN, bells
//!                        │
//!                        └──► projector ──► what is open, in memory ──► doors (Views)
//!                                 ├───────► views of what is final ───► doors (Views)
//!                                 └───────► snapshots ────────────────► the next start
//!                                               └────► retention ─────► older records go
//! ```
//!
//! * [`open()`] recovers everything that was acknowledged, or refuses to open.
//! * [`JournalHandle`] appends; an event's LSN is its place, and the durable LSN a promise.
//! * [`Views`] answers what clients ask.
//! * [`verify()`] and [`dump()`] read a journal that no engine has open.
//!
//! Views may lag behind the journal, never lead it. A failed write or sync ends the process.

mod age;
mod anchor;
mod audit;
pub mod codec;
pub mod dump;
mod fault;
mod followed;
mod handle;
mod hash_claims;
mod keys;
mod log_place;
mod model;
mod open;
mod pace;
mod projector;
pub mod reader;
pub mod record;
mod retention;
mod snapshot;
pub mod store;
mod stored;
pub mod verify;
pub mod views;
mod watermark;
mod writer;

pub use anchor::Anchor;
pub use dump::{DumpOptions, dump};
pub use fault::{EXIT_CODE, Fault};
pub use followed::Follow;
pub use handle::{JournalHandle, Totals};
pub use hash_claims::Claim;
pub use model::Change;
pub use open::{JournalOptions, OpenError, Opened, Running, open, open_if};
pub use reader::{Group, Groups};
pub use record::Position;
pub use store::{Store, StoreError, free_bytes};
pub use stored::Broken;
pub use verify::{Report, Verdict, verify};
pub use views::{ViewFault, Views};

#[cfg(test)]
mod tests;
