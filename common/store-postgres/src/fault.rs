//! Errors inside the crate, and how PostgreSQL's become [`StoreError`]s.
//!
//! Topic code uses `?` on both kinds; the boundary translates once. Messages carry the server's primary
//! message only, never its detail or a parameter, hence no data of users; a password is in no error.

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

/// What an error means for the connection it came by and for a further try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value or a row breaks a rule of the tables: will fail again, and only because of itself.
    Constraint,
    /// The server gave up for the sake of another transaction: try again, on the same connection.
    Contended,
    /// The connection or the server is gone; whether a commit was done is unknown.
    Broken,
    /// Anything else.
    Other,
}

impl Fault {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sql(error) => kind(error),
            // Said by this crate itself where a call was not answered in time.
            Self::Store(StoreError::Unavailable(_)) => Kind::Broken,
            Self::Store(_) => Kind::Other,
        }
    }
}

/// SQLSTATE of an error that came from the server
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

pub(crate) fn kind(error: &sqlx::Error) -> Kind {
    let Some(state) = state(error) else {
        return match error {
            // Raised before anything was sent.
            sqlx::Error::Encode(_) => Kind::Constraint,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
                Kind::Other
            }
            _ => Kind::Broken,
        };
    };
    match state.as_str() {
        // Serialization failure, deadlock, lock timeout, statement timeout.
        "40001" | "40P01" | "55P03" | "57014" => Kind::Contended,
        // Shut down by the administrator, after a crash, not yet up; session ended by a timeout; too
        // many connections; a primary that has become a standby.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "53300" | "25006" => Kind::Broken,
        code if code.starts_with("08") => Kind::Broken,
        code if code.starts_with("22") || code.starts_with("23") => Kind::Constraint,
        _ => Kind::Other,
    }
}

/// Whether a unique index would have been broken.
pub(crate) fn is_unique(error: &sqlx::Error) -> bool {
    state(error).as_deref() == Some("23505")
}

/// Translates the violation of a unique index into a conflict; other errors stay what they are.
pub(crate) fn unique(what: &'static str) -> impl Fn(sqlx::Error) -> Fault {
    move |error| if is_unique(&error) { StoreError::Conflict(what).into() } else { error.into() }
}

/// A row that contradicts what the program writes.
pub(crate) fn corrupt(text: impl Into<String>) -> Fault {
    StoreError::Corrupt(text.into()).into()
}

/// Nothing was heard from the server in time.
pub(crate) fn unanswered(what: &str) -> Fault {
    StoreError::Unavailable(format!("{what} was not answered in time")).into()
}

pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

pub(crate) fn store_error(error: &sqlx::Error) -> StoreError {
    let text = match error.as_database_error() {
        Some(server) => server.message().to_owned(),
        None => error.to_string(),
    };
    match kind(error) {
        Kind::Contended | Kind::Broken => StoreError::Unavailable(text),
        Kind::Constraint => StoreError::Corrupt(text),
        Kind::Other => match state(error) {
            Some(code) if code.starts_with("XX00") => StoreError::Corrupt(text),
            Some(_) => StoreError::Failed(text),
            None => StoreError::Corrupt(text),
        },
    }
}

/// The same answer for every operation of a batch that failed as a whole.
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
