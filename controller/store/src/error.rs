//! What can go wrong in a store, one enum for both implementations.

use crate::{LeaseId, Revision};

/// Result of a store call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store call failed. `is_retryable` tells whether the same call may work later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store cannot be reached or is stopping. A read gave nothing, a write was not applied.
    #[error("the store is unavailable: {reason}")]
    Unavailable { reason: String },
    /// The connection broke or timed out while a write was under way: it may have been applied or
    /// not. Read the keys before writing again, or write under a compare.
    #[error("the store did not answer, and the write may or may not have been applied: {reason}")]
    Indeterminate { reason: String },
    /// A key was not in the state the caller required. Revision 0 means "the key does not exist".
    #[error("key {key:?} is at revision {found}, the caller required {expected}")]
    Conflict { key: String, expected: Expected, found: Revision },
    /// The history before `oldest` is gone: list again and watch from there.
    #[error("revision {requested} is compacted away; the oldest one kept is {oldest}")]
    Compacted { requested: Revision, oldest: Revision },
    /// A read was asked for a revision that does not exist yet.
    #[error("revision {requested} is in the future; the store is at {current}")]
    FutureRevision { requested: Revision, current: Revision },
    /// A transaction, key or value exceeds what the store takes.
    #[error("{what}: found {found}, at most {limit} allowed")]
    TooLarge { what: &'static str, limit: u64, found: u64 },
    /// Wrong user, password or certificate, or a role without the right to do this.
    #[error("the store refused access: {reason}")]
    Unauthorized { reason: String },
    /// The lease does not exist: it expired or was revoked.
    #[error("lease {lease} does not exist; it expired or was revoked")]
    LeaseNotFound { lease: LeaseId },
    /// The request makes no sense, whatever the state of the store.
    #[error("invalid request: {reason}")]
    Invalid { reason: String },
    /// No room: the disk or etcd's quota is full. Reads still work.
    #[error("the store is full: {reason}")]
    Full { reason: String },
    /// Stored bytes are not what this program wrote.
    #[error("the store is damaged: {reason}")]
    Corrupt { reason: String },
    /// Another process has the store open.
    #[error("{path} is in use by another process; only one may open an embedded store")]
    InUse { path: String },
    /// The stored format is newer than this program, or has no upgrade path.
    #[error("the stored format is version {found}; this program reads {oldest} to {newest}")]
    Format { found: u64, oldest: u64, newest: u64 },
}

/// What a conditional write required of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The key must not exist.
    Missing,
    /// The key must exist.
    Present,
    /// The key's mod revision must be this one.
    At(Revision),
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Missing => f.write_str("that it does not exist"),
            Expected::Present => f.write_str("that it exists"),
            Expected::At(revision) => write!(f, "revision {revision}"),
        }
    }
}

impl Error {
    /// Whether the same call may succeed later without the caller changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Unavailable { .. } | Error::Indeterminate { .. } | Error::Full { .. })
    }

    pub(crate) fn unavailable(reason: impl std::fmt::Display) -> Self {
        Error::Unavailable { reason: reason.to_string() }
    }

    pub(crate) fn invalid(reason: impl std::fmt::Display) -> Self {
        Error::Invalid { reason: reason.to_string() }
    }

    pub(crate) fn corrupt(reason: impl std::fmt::Display) -> Self {
        Error::Corrupt { reason: reason.to_string() }
    }
}
