//! The rules of Fulgurite: pure state machines, the ports they need, and the amounts they count.
//!
//! Every lifecycle has `decide` (one input gives one event or one refusal; changes nothing),
//! `apply` (total and deterministic) and `resume` (what to ask again after a restart). Time,
//! randomness and new ids are arguments: the same inputs always give the same history.

pub mod amount;
pub mod batch;
pub mod book;
pub mod breaker;
pub mod channel;
pub mod dispatch;
pub mod event;
pub mod fence;
pub mod guard;
pub mod id;
pub mod map;
pub mod moments;
pub mod node;
pub mod order;
pub mod payment;
pub mod port;
pub mod queue;
pub mod resolve;
pub mod retry;
pub mod schedule;
pub mod standing;
#[doc(hidden)]
pub mod testing;
pub mod time;
pub mod tracker;
pub mod window;
pub mod witness;

pub use amount::{FeePolicy, Msat};
pub use event::Event;
pub use id::{AttemptId, BatchId, NodeName, PaymentHash, PaymentId, Preimage, SendId};
pub use order::Order;
pub use port::Lsn;
pub use time::UnixMs;
