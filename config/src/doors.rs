//! `[access]`, `[grpc]`, `[http]`, `[admin]`, `[check]` and `[limits]`: what comes in.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{Config, bounds::Bounds};

/// Who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Lets the listeners use an address that other machines reach, although nobody is asked who
    /// they are. Warned of every minute. Default false: such an address does not start.
    pub allow_unauthenticated_network: bool,
}

/// The gRPC door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    /// Address and port; port 0 takes a free one. Default `127.0.0.1:50051`.
    pub listen: SocketAddr,
    /// The most calls at once on one connection, 1 to 10,000. Default 256.
    pub concurrent_streams_max: u32,
    /// The most calls at once over all connections, 1 to 100,000; more are refused with a time to
    /// come back. Default 1,024.
    pub concurrent_calls_max: u32,
    /// A silent connection is asked whether it lives after so many seconds, 1 to 3,600.
    /// Default 30.
    pub keepalive_s: u32,
    /// The most connections at once, 1 to 100,000; more are closed at once. Default 4,096.
    pub connections_max: u32,
    /// A connection must have begun to speak HTTP/2 within so many seconds, 1 to 600. Default 10.
    pub preface_s_max: u32,
    /// A request other than an upload must be whole within so many seconds, 1 to 600. Default 30.
    pub request_s_max: u32,
}

impl Default for Grpc {
    fn default() -> Grpc {
        Grpc {
            listen: loopback(50_051),
            concurrent_streams_max: 256,
            concurrent_calls_max: 1_024,
            keepalive_s: 30,
            connections_max: 4_096,
            preface_s_max: 10,
            request_s_max: 30,
        }
    }
}

impl Grpc {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        let streams = self.concurrent_streams_max;
        bounds.within("grpc.concurrent_streams_max", streams, 1..=10_000);
        bounds.within("grpc.concurrent_calls_max", self.concurrent_calls_max, 1..=100_000);
        bounds.within("grpc.keepalive_s", self.keepalive_s, 1..=3_600);
        bounds.within("grpc.connections_max", self.connections_max, 1..=100_000);
        bounds.within("grpc.preface_s_max", self.preface_s_max, 1..=600);
        bounds.within("grpc.request_s_max", self.request_s_max, 1..=600);
    }
}

/// The HTTP door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port; port 0 takes a free one. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The most requests at once, 1 to 100,000; more are refused with a time to come back.
    /// Default 1,024.
    pub concurrent_requests_max: u32,
    /// The largest request body, in KiB; 4 to 16,384. Default 64.
    pub body_kb_max: u32,
    /// The most connections at once, 1 to 100,000; more are closed at once. Default 4,096.
    pub connections_max: u32,
    /// A connection without a whole request head for so many seconds is closed, also one that
    /// waits for its next request; 1 to 600. Default 30.
    pub head_s_max: u32,
    /// A request body must be whole within so many seconds, and an answer goes on being read;
    /// 1 to 600. Default 30.
    pub body_s_max: u32,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: loopback(8_080),
            concurrent_requests_max: 1_024,
            body_kb_max: 64,
            connections_max: 4_096,
            head_s_max: 30,
            body_s_max: 30,
        }
    }
}

impl Http {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        let requests = self.concurrent_requests_max;
        bounds.within("http.concurrent_requests_max", requests, 1..=100_000);
        bounds.within("http.body_kb_max", self.body_kb_max, 4..=16_384);
        bounds.within("http.connections_max", self.connections_max, 1..=100_000);
        bounds.within("http.head_s_max", self.head_s_max, 1..=600);
        bounds.within("http.body_s_max", self.body_s_max, 1..=600);
    }
}

/// The admin listener: liveness, readiness, metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port; port 0 takes a free one. Default `127.0.0.1:9090`.
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Admin {
        Admin { listen: loopback(9_090) }
    }
}

/// Without authentication only this machine may come in, unless the operator says otherwise; and
/// two listeners cannot have one address.
pub(crate) fn check_listeners(config: &Config, bounds: &mut Bounds) {
    let listeners = [
        ("grpc.listen", config.grpc.listen),
        ("http.listen", config.http.listen),
        ("admin.listen", config.admin.listen),
    ];
    for (at, (key, address)) in listeners.iter().enumerate() {
        if !address.ip().is_loopback() && !config.access.allow_unauthenticated_network {
            bounds.refuse(
                key,
                format!(
                    "{address} can be reached by other machines and nobody is asked who they \
                     are: a loopback address, or access.allow_unauthenticated_network = true"
                ),
            );
        }
        let same = listeners[..at].iter().find(|(_, other)| other == address);
        if let Some((other, _)) = same.filter(|_| address.port() != 0) {
            bounds.refuse(key, format!("{address} is taken by {other}: an address of its own"));
        }
    }
}

/// What an order must be like to be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// Who checks the signature of an invoice. Default `door`.
    pub verify_signatures: Signatures,
    /// An invoice must be valid for so many seconds yet, 0 to 86,400. Default 60.
    pub expiry_margin_s: u32,
    /// The most blocks that the recipient may ask for (`min_final_cltv_expiry_delta`), 18 to
    /// 2,016. Default 432.
    pub final_cltv_delta_max: u32,
    /// The most that one payment may pay, in satoshi; 1 to 2,100,000,000,000,000.
    /// Default 10,000,000.
    pub payment_amount_sat_max: u64,
    /// The most that one batch may pay, in satoshi; 1 to 2,100,000,000,000,000.
    /// Default 10,000,000,000.
    pub batch_amount_sat_max: u64,
    /// The highest fee limit, in percent of the amount; 0 to 100. Default 10.
    pub fee_limit_percent_max: u32,
    /// A fee limit up to so many millisatoshi is allowed whatever the percentage, 0 to
    /// 100,000,000,000. Default 10,000.
    pub fee_limit_floor_msat: u64,
}

/// Who checks the signature of an invoice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signatures {
    /// The engine, before the order is accepted (about 45 us an order).
    #[default]
    Door,
    /// The node, when it is paid: a bad one fails then, and limits per destination are refused,
    /// because the payee is not known.
    Node,
}

impl Default for Check {
    fn default() -> Check {
        Check {
            verify_signatures: Signatures::Door,
            expiry_margin_s: 60,
            final_cltv_delta_max: 432,
            payment_amount_sat_max: 10_000_000,
            batch_amount_sat_max: 10_000_000_000,
            fee_limit_percent_max: 10,
            fee_limit_floor_msat: 10_000,
        }
    }
}

/// All bitcoin there will be, in satoshi.
pub(crate) const SAT_MAX: u64 = 2_100_000_000_000_000;

impl Check {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.within("check.expiry_margin_s", self.expiry_margin_s, 0..=86_400);
        bounds.within("check.final_cltv_delta_max", self.final_cltv_delta_max, 18..=2_016);
        bounds.within("check.payment_amount_sat_max", self.payment_amount_sat_max, 1..=SAT_MAX);
        bounds.within("check.batch_amount_sat_max", self.batch_amount_sat_max, 1..=SAT_MAX);
        bounds.within("check.fee_limit_percent_max", self.fee_limit_percent_max, 0..=100);
        let floor = self.fee_limit_floor_msat;
        bounds.within("check.fee_limit_floor_msat", floor, 0..=100_000_000_000);
    }
}

/// How much waits and lives at once. Over a limit a client is told at once when to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most payments that are not final, 1,000 to 10,000,000; each takes about 1.5 KiB of
    /// memory. Default 1,000,000.
    pub open_payments_max: u64,
    /// The most uploads on their way at once, 1 to 1,000. Default 16.
    pub uploads_max: u32,
    /// The most rows that wait for the invoice check, 1,000 to 1,000,000. Default 20,000.
    pub unchecked_rows_max: u32,
    /// An upload without a message for so many seconds is ended, 1 to 600. Default 30.
    pub upload_silence_s_max: u32,
    /// An upload that takes longer is ended, in seconds; 10 to 3,600. Default 600.
    pub upload_s_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            open_payments_max: 1_000_000,
            uploads_max: 16,
            unchecked_rows_max: 20_000,
            upload_silence_s_max: 30,
            upload_s_max: 600,
        }
    }
}

impl Limits {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.within("limits.open_payments_max", self.open_payments_max, 1_000..=10_000_000);
        bounds.within("limits.uploads_max", self.uploads_max, 1..=1_000);
        bounds.within("limits.unchecked_rows_max", self.unchecked_rows_max, 1_000..=1_000_000);
        bounds.within("limits.upload_silence_s_max", self.upload_silence_s_max, 1..=600);
        bounds.within("limits.upload_s_max", self.upload_s_max, 10..=3_600);
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
