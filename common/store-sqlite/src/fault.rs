//! Errors inside the crate, and how SQLite's become [`StoreError`]s.
//!
//! Topic code uses `?` on both kinds; the writer and the reader translate once, at the boundary.
//! Messages carry SQLite's own words and no parameter values, hence no data of users.

use bul_job::Refused;
use bul_store::StoreError;

/// A failure inside an operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        Self::Store(refused.into())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => store_error(&error),
            Fault::Store(error) => error,
        }
    }
}

/// Primary result codes of SQLite (<https://www.sqlite.org/rescode.html>).
mod code {
    pub const BUSY: u32 = 5;
    pub const LOCKED: u32 = 6;
    pub const INTERRUPT: u32 = 9;
    pub const CORRUPT: u32 = 11;
    pub const FULL: u32 = 13;
    pub const CONSTRAINT: u32 = 19;
    pub const NOT_A_DATABASE: u32 = 26;
    /// Extended code: a unique index would be broken.
    pub const UNIQUE: u32 = 2067;
    /// Extended code: a primary key would be broken.
    pub const PRIMARY_KEY: u32 = 1555;
}

/// SQLite's extended result code, if the error came from SQLite.
fn extended_code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Whether another process holds the lock that was needed.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    extended_code(error).is_some_and(|code| matches!(code & 0xff, code::BUSY | code::LOCKED))
}

/// Translates the violation of a unique index into a conflict; other errors stay what they are.
pub(crate) fn unique(what: &'static str) -> impl Fn(sqlx::Error) -> Fault {
    move |error| match extended_code(&error) {
        Some(code::UNIQUE | code::PRIMARY_KEY) => StoreError::Conflict(what).into(),
        _ => error.into(),
    }
}

/// A row that contradicts what the program writes.
pub(crate) fn corrupt(text: impl Into<String>) -> Fault {
    StoreError::Corrupt(text.into()).into()
}

pub(crate) fn store_error(error: &sqlx::Error) -> StoreError {
    if let Some(extended) = extended_code(error) {
        let text = error.as_database_error().map_or_else(String::new, |e| e.message().to_owned());
        return match extended & 0xff {
            code::BUSY | code::LOCKED | code::INTERRUPT => StoreError::Unavailable(text),
            code::FULL => StoreError::Unavailable("its disk is full".into()),
            code::CORRUPT | code::NOT_A_DATABASE | code::CONSTRAINT => StoreError::Corrupt(text),
            _ => StoreError::Failed(text),
        };
    }
    match error {
        sqlx::Error::PoolClosed => StoreError::Unavailable("it is closed".into()),
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("all readers are busy".into()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
            StoreError::Corrupt(error.to_string())
        }
        other => StoreError::Failed(other.to_string()),
    }
}

/// The same answer for every operation of a group that failed as a whole.
pub(crate) fn repeat(error: &StoreError) -> StoreError {
    match error {
        StoreError::NotFound(what) => StoreError::NotFound(what),
        StoreError::Refused(refused) => StoreError::Refused(*refused),
        StoreError::Conflict(what) => StoreError::Conflict(what),
        StoreError::Unavailable(text) => StoreError::Unavailable(text.clone()),
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
        StoreError::Failed(text) => StoreError::Failed(text.clone()),
    }
}
