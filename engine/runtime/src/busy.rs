//! Refusals of the engine as a whole.

/// Why the engine takes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// What waits is at its limit.
    #[error("too many requests wait; try again")]
    Overloaded,
    /// What lives is at its limit.
    #[error("too many payments are open; try again when some are final")]
    TooManyOpen,
    /// The journal's disk is below the configured floor.
    #[error("the journal's disk is nearly full")]
    DiskLow,
    /// Recovery is not finished.
    #[error("the engine is starting")]
    Starting,
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
    /// It may or may not have been accepted: repeat it with the same key.
    #[error("the outcome is unknown; repeat the request with the same key")]
    UnknownOutcome,
}
