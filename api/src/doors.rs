//! What both doors need: the engine, the checks, the limits.

use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fulgurite_core::{Msat, UnixMs, order::BatchOptions};
use fulgurite_runtime::Engine;
use tokio::sync::watch;

use crate::check::{Checker, Network, Signatures};

/// Everything that a door needs to answer; cheap to clone, because each request gets a few.
#[derive(Clone)]
pub struct Doors(Arc<Common>);

/// What is behind both doors.
pub struct Common {
    /// The engine.
    pub engine: Engine,
    /// The invoice check.
    pub checker: Checker,
    /// The limits.
    pub limits: Limits,
    /// What unset options of a batch become.
    pub defaults: BatchOptions,
    stopping: watch::Sender<bool>,
}

impl Deref for Doors {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.0
    }
}

impl Doors {
    /// Doors of an engine. Both listeners get a clone of the same.
    pub fn new(engine: Engine, checker: Checker, limits: Limits, defaults: BatchOptions) -> Doors {
        let stopping = watch::Sender::new(false);
        Doors(Arc::new(Common { engine, checker, limits, defaults, stopping }))
    }

    /// The Bitcoin network of the engine.
    pub fn network(&self) -> Network {
        self.checker.rules().network
    }

    /// Who checks the signatures of invoices.
    pub fn signatures(&self) -> Signatures {
        self.checker.rules().signatures
    }

    /// Ends the calls that would go on for long: uploads, watches, long polls.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// True once [`Doors::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits for [`Doors::stop`].
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`, so this ends only with the value.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// Every limit at the doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most orders of a batch, 1 to 100,000.
    pub batch_orders_max: u32,
    /// The most orders of one upload message.
    pub message_orders_max: u32,
    /// The most bytes of one message.
    pub message_bytes_max: usize,
    /// The most that one payment may pay.
    pub payment_amount_max: Msat,
    /// The most that one batch may pay.
    pub batch_amount_max: Msat,
    /// The largest final CLTV delta of an invoice, in blocks.
    pub final_cltv_delta_max: u32,
    /// How long an invoice must still be valid.
    pub expiry_margin: Duration,
    /// A fee limit may always be this much.
    pub fee_limit_floor: Msat,
    /// Or this share of the amount, in millionths, when that is more.
    pub fee_limit_ppm_max: u32,
    /// An upload without a message for this long is ended.
    pub upload_silence_max: Duration,
    /// An upload that takes longer in all is ended.
    pub upload_time_max: Duration,
    /// Rows that may wait for the invoice check, over all uploads.
    pub unchecked_rows_max: u32,
    /// The most calls at once on one gRPC connection.
    pub concurrent_streams_max: u32,
    /// The most gRPC calls at once over all connections.
    pub concurrent_calls_max: u32,
    /// A silent gRPC connection is asked whether it lives after this time.
    pub keepalive: Duration,
    /// The most gRPC connections at once.
    pub grpc_connections_max: u32,
    /// A gRPC connection must have begun to speak HTTP/2 within this time.
    pub grpc_preface_time_max: Duration,
    /// A gRPC request other than an upload must be whole within this time.
    pub grpc_request_time_max: Duration,
    /// The most HTTP connections at once.
    pub http_connections_max: u32,
    /// An HTTP connection without a whole request head for this long is closed.
    pub http_head_time_max: Duration,
    /// An HTTP request body must be whole within this time.
    pub http_body_time_max: Duration,
    /// The most HTTP requests at once.
    pub http_requests_max: u32,
    /// The largest HTTP request body, in bytes.
    pub http_body_bytes_max: usize,
    /// The most payments that can be open at once; 0 when unknown.
    pub open_payments_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            batch_orders_max: 100_000,
            message_orders_max: 1_000,
            message_bytes_max: 1 << 20,
            payment_amount_max: Msat::from_sat_clamped(10_000_000),
            batch_amount_max: Msat::from_sat_clamped(10_000_000_000),
            final_cltv_delta_max: 432,
            expiry_margin: Duration::from_secs(60),
            fee_limit_floor: Msat::from_sat_clamped(10),
            fee_limit_ppm_max: 100_000,
            upload_silence_max: Duration::from_secs(30),
            upload_time_max: Duration::from_secs(600),
            unchecked_rows_max: 20_000,
            concurrent_streams_max: 256,
            concurrent_calls_max: 1_024,
            keepalive: Duration::from_secs(30),
            grpc_connections_max: 4_096,
            grpc_preface_time_max: Duration::from_secs(10),
            grpc_request_time_max: Duration::from_secs(30),
            http_connections_max: 4_096,
            http_head_time_max: Duration::from_secs(30),
            http_body_time_max: Duration::from_secs(30),
            http_requests_max: 1_024,
            http_body_bytes_max: 64 << 10,
            open_payments_max: 0,
        }
    }
}

/// The wall clock, as the rules see it.
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
