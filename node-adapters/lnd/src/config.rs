//! What an operator says about a node.

use std::{path::PathBuf, time::Duration};

use crate::{guard::Guard, key_at::KeyAt};

/// One lnd node.
#[derive(Clone, Debug)]
pub struct LndConfig {
    /// The node's name in logs, 1 to 32 of `[a-z0-9_-]`.
    pub name: String,
    /// Where its gRPC listens, `host:port`. Default `localhost:10009`.
    pub address: String,
    /// Its `tls.cert` (PEM), or the certificate of the authority that issued it. Read again at
    /// each connect, and while connected when it changes.
    pub tls_cert_path: PathBuf,
    /// The macaroon (binary): SendPaymentV2, TrackPaymentV2, GetInfo, ListChannels, ListPayments
    /// and SubscribeChannelEvents suffice. Without PendingChannels and ClosedChannels, a payment
    /// that a killed node lost stays in flight when its channel is closed. Read again like the
    /// certificate.
    pub macaroon_path: PathBuf,
    /// The clone guard; `None`: the macaroon above is used as it is.
    pub guard: Option<Guard>,
    /// What adapters of this node before this one knew of the engine's key there. Default: there
    /// were none.
    pub key_at: KeyAt,
    /// How many connections carry payments, beside the one for everything else. Default 2, 1 to
    /// 16.
    pub payment_connections: usize,
    /// The first pause after a connection was lost, in milliseconds; each further one is twice as
    /// long, with jitter. Default 100, 10 to 10,000.
    pub reconnect_ms_min: u64,
    /// The longest such pause, in milliseconds. Default 10,000, `reconnect_ms_min` to 600,000.
    pub reconnect_ms_max: u64,
    /// How often the channels are read when nothing happens, in milliseconds. Default 30,000, 250
    /// to 600,000.
    pub channels_interval_ms: u64,
    /// The shortest time between two reads of the channels, in milliseconds. Default 500, 10 to
    /// 30,000.
    pub channels_interval_ms_min: u64,
    /// How often the node is asked how it is (GetInfo), in milliseconds. Default 10,000, 1,000 to
    /// 600,000.
    pub info_interval_ms: u64,
    /// How often the offset of its clock is found, in milliseconds. Default 60,000, 1,000 to
    /// 3,600,000.
    pub clock_interval_ms: u64,
    /// How often the certificate and macaroon files are looked at, in milliseconds. Default 3,000,
    /// 100 to 600,000.
    pub files_interval_ms: u64,
    /// How long a read may take, in milliseconds. Default 30,000, 1,000 to 600,000.
    pub call_timeout_ms: u64,
    /// How much longer than its `grpc-timeout` a send is waited for, in milliseconds. Default
    /// 2,000, 0 to 60,000.
    pub send_grace_ms: u64,
}

impl Default for LndConfig {
    fn default() -> LndConfig {
        LndConfig {
            name: "lnd".to_owned(),
            address: "localhost:10009".to_owned(),
            tls_cert_path: "tls.cert".into(),
            macaroon_path: "fulgurite.macaroon".into(),
            guard: None,
            key_at: KeyAt::default(),
            payment_connections: 2,
            reconnect_ms_min: 100,
            reconnect_ms_max: 10_000,
            channels_interval_ms: 30_000,
            channels_interval_ms_min: 500,
            info_interval_ms: 10_000,
            clock_interval_ms: 60_000,
            files_interval_ms: 3_000,
            call_timeout_ms: 30_000,
            send_grace_ms: 2_000,
        }
    }
}

impl LndConfig {
    /// How long a read may take.
    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    /// The pause after the `failures`-th failure in a row, from 0: exponential, with a jitter
    /// between a half and the whole of it, so that engines do not come back all at once.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let whole = self.reconnect_ms_min.saturating_mul(1 << failures.min(20));
        let whole = whole.min(self.reconnect_ms_max).max(1);
        let half = whole / 2;
        Duration::from_millis(half + self.jitter(failures) % (whole - half + 1))
    }

    /// A number that looks random and differs between nodes and processes.
    fn jitter(&self, failures: u32) -> u64 {
        let mut hash = u64::from(std::process::id()) << 32 | u64::from(failures);
        for byte in self.name.bytes() {
            // FNV-1a.
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let config = LndConfig::default();
        for failures in 0..100 {
            let whole = (100_u64 << failures.min(20)).min(10_000);
            let pause = config.pause(failures).as_millis() as u64;
            assert!((whole / 2..=whole).contains(&pause), "{pause} ms after {failures} failures");
        }
    }
}
