//! Which part of the program a function belongs to.

/// The parts that processor time is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Component {
    Ours,
    Signatures,
    Rpc,
    Protobuf,
    Tls,
    Runtime,
    RocksDb,
    Allocator,
    Kernel,
    Other,
}

impl Component {
    /// All, in the order of the table's columns.
    pub const ALL: [Component; 10] = [
        Component::Ours,
        Component::Signatures,
        Component::Rpc,
        Component::Protobuf,
        Component::Tls,
        Component::Runtime,
        Component::RocksDb,
        Component::Allocator,
        Component::Kernel,
        Component::Other,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Component::Ours => "ours",
            Component::Signatures => "secp256k1",
            Component::Rpc => "h2, hyper, tonic",
            Component::Protobuf => "prost",
            Component::Tls => "TLS",
            Component::Runtime => "tokio, actix",
            Component::RocksDb => "rocksdb",
            Component::Allocator => "alloc",
            Component::Kernel => "kernel",
            Component::Other => "other",
        }
    }

    /// A colour of its own, readable under black letters.
    pub fn colour(self) -> &'static str {
        match self {
            Component::Ours => "#8fc7f0",
            Component::Signatures => "#d9c2f0",
            Component::Rpc => "#f7c08a",
            Component::Protobuf => "#f2e394",
            Component::Tls => "#f2a7c3",
            Component::Runtime => "#c9d6a3",
            Component::RocksDb => "#a5dfc4",
            Component::Allocator => "#f09a8f",
            Component::Kernel => "#c4c8cf",
            Component::Other => "#e5e1d8",
        }
    }
}

/// Crates by part; every other crate is [`Component::Other`].
const CRATES: [(&str, Component); 34] = [
    ("actix", Component::Runtime),
    ("actix_rt", Component::Runtime),
    ("async_stream", Component::Rpc),
    ("aws_lc_rs", Component::Tls),
    ("axum", Component::Rpc),
    ("axum_core", Component::Rpc),
    ("crossbeam_channel", Component::Runtime),
    ("crossbeam_utils", Component::Runtime),
    ("futures_channel", Component::Runtime),
    ("futures_core", Component::Runtime),
    ("futures_util", Component::Runtime),
    ("h2", Component::Rpc),
    ("http", Component::Rpc),
    ("http_body", Component::Rpc),
    ("http_body_util", Component::Rpc),
    ("hyper", Component::Rpc),
    ("hyper_rustls", Component::Tls),
    ("hyper_util", Component::Rpc),
    ("mio", Component::Runtime),
    ("parking_lot", Component::Runtime),
    ("prost", Component::Protobuf),
    ("prost_types", Component::Protobuf),
    ("ring", Component::Tls),
    ("rocksdb", Component::RocksDb),
    ("rustls", Component::Tls),
    ("rustls_pki_types", Component::Tls),
    ("secp256k1", Component::Signatures),
    ("tokio", Component::Runtime),
    ("tokio_rustls", Component::Tls),
    ("tokio_stream", Component::Runtime),
    ("tokio_util", Component::Runtime),
    ("tonic", Component::Rpc),
    ("tower", Component::Rpc),
    ("tower_service", Component::Rpc),
];

/// Libraries that work for whoever calls them: their time is the caller's.
const HELPERS: [&str; 10] = [
    "alloc",
    "bytes",
    "core",
    "hashbrown",
    "indexmap",
    "memchr",
    "once_cell",
    "pin_project_lite",
    "smallvec",
    "std",
];

/// Beginnings of names in C.
const C_NAMES: [(&str, Component); 26] = [
    ("rustsecp256k1", Component::Signatures),
    ("secp256k1_", Component::Signatures),
    ("ring_core", Component::Tls),
    ("aws_lc", Component::Tls),
    ("rocksdb_", Component::RocksDb),
    ("malloc", Component::Allocator),
    ("calloc", Component::Allocator),
    ("realloc", Component::Allocator),
    ("free", Component::Allocator),
    ("cfree", Component::Allocator),
    ("_int_malloc", Component::Allocator),
    ("_int_free", Component::Allocator),
    ("_int_realloc", Component::Allocator),
    ("unlink_chunk", Component::Allocator),
    ("tcache_", Component::Allocator),
    ("sysmalloc", Component::Allocator),
    ("systrim", Component::Allocator),
    ("arena_get", Component::Allocator),
    ("__libc_malloc", Component::Allocator),
    ("__libc_free", Component::Allocator),
    ("__rust_", Component::Allocator),
    ("operator new", Component::Allocator),
    ("operator delete", Component::Allocator),
    ("mi_", Component::Allocator),
    ("_mi_", Component::Allocator),
    ("_rjem_", Component::Allocator),
];

/// The part that a function says by itself; `None` for what works for its caller, such as the
/// standard library and `memcpy`.
pub(super) fn of(function: &str, in_kernel: bool) -> Option<Component> {
    if in_kernel {
        return Some(Component::Kernel);
    }
    // Our messages are prost's work, whoever's type they are.
    if function.contains("prost::") {
        return Some(Component::Protobuf);
    }
    let named = C_NAMES.iter().find(|(start, _)| function.starts_with(start));
    if let Some((_, component)) = named {
        return Some(*component);
    }
    let of_crate = crate_of(function)?;
    if of_crate.starts_with("fulgurite") {
        return Some(Component::Ours);
    }
    if HELPERS.contains(&of_crate) {
        return None;
    }
    let known = CRATES.iter().find(|(name, _)| *name == of_crate);
    Some(known.map_or(Component::Other, |(_, component)| *component))
}

/// The crate, or the outermost namespace, of a function: `h2` of `<h2::Frame<T> as A>::b`. Of an
/// implementation for any type it is that of the trait. `None` for a name in C.
fn crate_of(function: &str) -> Option<&str> {
    let function =
        function.strip_prefix('_').filter(|rest| rest.starts_with('<')).unwrap_or(function);
    let path = |text: &str| -> Option<(usize, usize)> {
        let start = text.find(|c: char| c.is_ascii_alphanumeric() || c == '_')?;
        let length = text[start..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        text[start + length..].starts_with("::").then_some((start, start + length))
    };
    let inside = function.trim_start_matches(['<', '&', '*', '(', '[']);
    let inside = ["mut ", "const ", "dyn "]
        .iter()
        .fold(inside, |text, word| text.strip_prefix(word).unwrap_or(text));
    let found = path(inside).map(|(from, to)| &inside[from..to]);
    found.or_else(|| {
        let of_trait = function.split_once(" as ")?.1;
        path(of_trait).map(|(from, to)| &of_trait[from..to])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_its_crate_and_what_only_helps_to_its_caller() {
        for (function, wanted) in [
            ("fulgurite_runtime::node_work::NodeWork::drain", Some(Component::Ours)),
            (
                "<fulgurite_runtime::node_actor::NodeActor as futures_core::A<B>>::handle",
                Some(Component::Ours),
            ),
            ("<&mut F as core::future::future::Future>::poll", None),
            ("<h2::share::SendStream<B> as core::ops::drop::Drop>::drop", Some(Component::Rpc)),
            ("<T as tokio::io::AsyncWrite>::poll_write", Some(Component::Runtime)),
            (
                "<fulgurite_proto::v1::Payment as prost::message::Message>::encode_raw",
                Some(Component::Protobuf),
            ),
            ("rustsecp256k1_v0_10_0_fe_mul_inner", Some(Component::Signatures)),
            ("rocksdb_write", Some(Component::RocksDb)),
            ("ring_core_0_17_14__aes_gcm_enc_update_vaes_avx2", Some(Component::Tls)),
            ("malloc_consolidate", Some(Component::Allocator)),
            ("operator delete@plt", Some(Component::Allocator)),
            ("__memmove_avx512_unaligned_erms", None),
            ("hashbrown::map::HashMap<K,V,S,A>::insert", None),
            ("lightning_invoice::de::parse", Some(Component::Other)),
            ("[unknown]", None),
        ] {
            assert_eq!(of(function, false), wanted, "{function}");
        }
        assert_eq!(of("tcp_sendmsg", true), Some(Component::Kernel));
    }

    #[test]
    fn the_crates_are_in_order() {
        assert!(CRATES.is_sorted_by_key(|(name, _)| *name) && HELPERS.is_sorted());
    }
}
