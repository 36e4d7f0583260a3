//! Real lnd on a private regtest chain: btcd and the three nodes alice (who pays), bob and carol.
//!
//! ```text
//!            5 channels          5 channels
//!   alice ═══════════════ bob ═══════════════ carol
//! ```
//!
//! [`Network::start`] starts everything on free loopback ports with its files in memory, opens the
//! channels and returns when alice can pay carol. All of it is gone when the [`Network`] is
//! dropped,
//! and when the test process ends in any other way. Starting takes about 20 seconds: a test file
//! has one test function, which runs its scenarios on one network. A `static` is never dropped, so
//! it is no place for a network.
//!
//! The programs come from `scripts/lnd`; see [`Binaries`].

mod binaries;
mod chain;
mod channels;
mod connection;
mod naive;
mod network;
mod node;
mod process;
mod rpc;
mod wait;

pub use binaries::Binaries;
pub use chain::Chain;
pub use channels::Link;
pub use connection::{Connection, Macaroon};
pub use naive::{Outcome, pay_naively};
pub use network::{Network, Options};
pub use node::{Balance, Node};
pub(crate) use process::free_port;
pub use rpc::{Invoice, is_final, payment_hash, plain_payment};
pub use wait::until;
