//! What can go wrong in the simulation itself, as opposed to what it simulates.

use std::path::{Path, PathBuf};

/// A fault of the simulation: its files, its ports, its configuration.
#[derive(Debug, thiserror::Error)]
pub enum SimFault {
    /// The configuration or a knobs file is wrong; the text says what.
    #[error("configuration: {0}")]
    Config(String),
    /// A file or a directory could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The node's port could not be opened.
    #[error("port {port}: {source}")]
    Port {
        /// The port, 0 for any free one.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate could not be made or used; the text says why.
    #[error("certificate: {0}")]
    Certificate(String),
    /// A book holds something that this version does not write.
    #[error("{path}: unreadable record at byte {offset}")]
    Book {
        /// The book.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
    },
    /// The thread that serves the node is gone.
    #[error("the fleet has stopped")]
    Stopped,
}

impl SimFault {
    /// A fault of the file at `path`.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> SimFault {
        SimFault::Io { path: path.to_owned(), source }
    }
}
