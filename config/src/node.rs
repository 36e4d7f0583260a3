//! `[[node]]`: the nodes that pay.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;

/// A node that pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Its name in logs, metrics and results: 1 to 32 of `a-z0-9_-`, unique. Required.
    pub name: String,
    /// `host:port` of its gRPC listener. Required.
    pub address: String,
    /// Its TLS certificate, a PEM file. Required.
    pub tls_cert_path: PathBuf,
    /// The macaroon, a binary file. Required. The rights that it needs: `offchain:read`,
    /// `offchain:write` and `info:read`.
    pub macaroon_path: PathBuf,
    /// A macaroon with `macaroon:generate`, `macaroon:read` and `macaroon:write`, a binary file:
    /// the clone guard. Each start then bakes a macaroon of its own, and revokes those before it.
    /// As powerful as an admin's. Empty: no guard. Default empty.
    pub guard_macaroon_path: PathBuf,
    /// How many connections carry its payments, 1 to 16. Default 2.
    pub payment_connections: u32,
    /// The most payments in flight there, 0 to 10,000; 0 is `window.in_flight_max`. Default 0.
    pub in_flight_max: u32,
    /// The most payments that start there in a second, 0 to 100,000; 0 is no limit. Default 0.
    pub payments_per_second_max: u32,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            name: String::new(),
            address: String::new(),
            tls_cert_path: PathBuf::new(),
            macaroon_path: PathBuf::new(),
            guard_macaroon_path: PathBuf::new(),
            payment_connections: 2,
            in_flight_max: 0,
            payments_per_second_max: 0,
        }
    }
}

/// Checks all nodes, and that no two have one name.
pub(crate) fn check_all(nodes: &[Node], bounds: &mut Bounds) {
    if nodes.len() > 1_000 {
        bounds.refuse("node", format!("{} nodes are not allowed: at most 1000", nodes.len()));
    }
    let mut names = HashSet::new();
    for (index, node) in nodes.iter().enumerate() {
        let key = |field: &str| format!("node[{index}].{field}");
        node.check(&key, bounds);
        if !names.insert(&node.name) {
            bounds.refuse(&key("name"), format!("`{}` is taken: a name of its own", node.name));
        }
    }
}

impl Node {
    fn check(&self, key: &dyn Fn(&str) -> String, bounds: &mut Bounds) {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if !(1..=32).contains(&self.name.len()) || !self.name.bytes().all(allowed) {
            let message = format!("`{}` is not allowed: 1 to 32 of a-z0-9_-", self.name);
            bounds.refuse(&key("name"), message);
        }
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) || self.address.contains("//") {
            let message = format!("`{}` is not allowed: host:port", self.address);
            bounds.refuse(&key("address"), message);
        }
        for (field, path) in
            [("tls_cert_path", &self.tls_cert_path), ("macaroon_path", &self.macaroon_path)]
        {
            if path == Path::new("") {
                bounds.refuse(&key(field), "is required: the path of a file".into());
            }
        }
        bounds.within(&key("payment_connections"), self.payment_connections, 1..=16);
        bounds.within(&key("in_flight_max"), self.in_flight_max, 0..=10_000);
        bounds.within(&key("payments_per_second_max"), self.payments_per_second_max, 0..=100_000);
    }
}
