//! The wire contracts: `fulgurite.v1`, which Fulgurite serves, and the part of lnd's API that it
//! uses.
//!
//! All of it is generated from the `.proto` files beside this crate, which carry the
//! documentation. The lnd part is a subset in our own words; `tests/tests/conformance.rs` compares
//! it with lnd's files, number by number.

pub mod strict;

/// What Fulgurite serves.
pub mod fulgurite {
    /// Version 1 of the API.
    #[allow(missing_docs, unused_qualifications, clippy::all, clippy::unwrap_used)]
    pub mod v1 {
        tonic::include_proto!("fulgurite.v1");
    }
}

/// lnd's `State` and `Lightning` services.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::unwrap_used)]
pub mod lnrpc {
    tonic::include_proto!("lnrpc");
}

/// lnd's `Router` service.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::unwrap_used)]
pub mod routerrpc {
    tonic::include_proto!("routerrpc");
}

/// lnd's `Invoices` service.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::unwrap_used)]
pub mod invoicesrpc {
    tonic::include_proto!("invoicesrpc");
}

/// The descriptors of `fulgurite.v1` (a `google.protobuf.FileDescriptorSet`), for reflection.
pub const FULGURITE_FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/fulgurite.bin"));

/// The descriptors of our part of lnd's API (a `google.protobuf.FileDescriptorSet`).
pub const LND_FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lnrpc.bin"));
