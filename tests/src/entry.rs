//! A node in the configuration of an engine.

use std::path::PathBuf;

/// A node that the engine pays over.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// Its name in the configuration.
    pub name: String,
    /// Where its gRPC listens.
    pub address: String,
    /// Its certificate.
    pub tls_cert: PathBuf,
    /// Its macaroon.
    pub macaroon: PathBuf,
}

impl NodeEntry {
    /// Its section of a configuration.
    pub fn section(&self) -> String {
        let NodeEntry { name, address, tls_cert, macaroon } = self;
        format!(
            "[[node]]\nname = {name:?}\naddress = {address:?}\ntls_cert_path = {tls_cert:?}\n\
             macaroon_path = {macaroon:?}\n"
        )
    }
}
