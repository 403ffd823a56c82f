//! What can go wrong in a store.

use bul_job::Refused;

/// How a caller must treat an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorClass {
    /// May succeed later.
    Transient,
    /// Will fail again.
    Permanent,
}

/// A failed store operation; nothing of it has taken effect, except where `Unavailable` leaves it
/// open (the commit was sent and the answer lost): every operation may therefore be repeated.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such job, document, schedule or key for this tenant.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The job's state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The name or key exists already.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// The store cannot be reached or is overloaded.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The stored data cannot be read; never retried.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The disk is full, the file is read-only, or the like.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Decides between retry and giving up.
    pub fn class(&self) -> StoreErrorClass {
        match self {
            Self::Unavailable(_) | Self::Failed(_) => StoreErrorClass::Transient,
            Self::NotFound(_) | Self::Refused(_) | Self::Conflict(_) | Self::Corrupt(_) => {
                StoreErrorClass::Permanent
            }
        }
    }

    /// Whether another attempt has taken over, or the job has ended: this attempt must stop.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Refused(Refused::Fenced { .. } | Refused::Final(_)))
    }
}
