//! A simulated lnd that speaks lnd's gRPC, for scale and for faults.
//!
//! A [`Fleet`] of nodes, each with TLS, macaroons, channels and a book that survives its kill,
//! reached as real lnd is. [`make_invoices`] makes the invoices of a simulated network of
//! recipients; [`read_books`] tells afterwards what each node has paid. What lnd does in which
//! case, and its words, are those of lnd 0.21 on its KV store.
//!
//! Deliberately absent: routing over other nodes (each route is one hop and a fee), keysend and
//! AMP, on-chain anything, the peer protocol. A split payment is planned whole before any part is
//! sent, the fleet's own invoices are known within their process only, and a capped node makes a
//! payment wait as INITIATED.
//!
//! A payment passes `rpc` (macaroon at HEADERS, then the message), `pay` (lnd's checks in
//! lnd's order, the payment's life), `book` (append-only, written before any answer leaves).

mod auth;
mod bolt11;
mod book;
mod calls;
mod channel;
mod clock;
mod closing;
mod config;
mod decide;
mod factory;
mod fault;
mod feed;
mod fleet;
mod follow;
mod invoices;
mod macaroon;
mod message;
mod network;
mod node;
mod pay;
mod payment;
mod reader;
mod record;
mod refusal;
mod restore;
mod rpc;
mod server;
mod tls;
mod wire;

pub use config::{FailMix, FleetConfig, KNOBS_FILE, Knobs, node_name};
pub use factory::{Invoice, InvoiceOrder, make_invoices};
pub use fault::SimFault;
pub use fleet::{FLEET_FILE, Fleet, FleetFile, NodeInfo, run};
pub use macaroon::add_caveat;
pub use payment::{FailureReason, Status};
pub use reader::{BookEntry, BookReader, read_books};
