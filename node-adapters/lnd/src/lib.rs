//! The lnd adapter: fulgurite's node port over lnd's gRPC.
//!
//! [`LndNode`] implements [`fulgurite_core::port::Node`] on the thread of its owner. A send is one
//! `SendPaymentV2` call with an expiring macaroon and a `grpc-timeout` (rule E6) over a connection
//! that never reconnects by itself (rule E7); what its end means is one table ([`meaning`]).
//!
//! [`connect()`] is for tests and load generators that use tonic's generated clients.

mod channels;
mod clock;
mod config;
mod connect;
mod convert;
pub mod grpc;
mod guard;
mod key_at;
mod life;
mod listed;
pub mod macaroon;
pub mod meaning;
mod node;
mod session;
mod shared;
pub mod tls;
mod told;

pub use config::LndConfig;
pub use connect::{ConnectFault, MacaroonInterceptor, connect};
pub use guard::Guard;
pub use key_at::{KeyAt, OwnKeys};
pub use node::LndNode;
pub use session::check_files;
