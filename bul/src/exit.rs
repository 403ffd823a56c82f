//! Exit codes and the one way in which a failed command speaks.

use std::process::ExitCode;

/// Stable exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for is done.
    Done,
    /// It failed, or a job of it did.
    Failed,
    /// The command line, the configuration or the input is wrong.
    Usage,
    /// No such job, document, schedule, template or key.
    NotFound,
    /// The server, store or model cannot be reached.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Unavailable => 4,
        })
    }
}

/// An error that knows its exit code and, where there is one, a way out.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Exit code.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// Wrong input.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), hint: None }
    }

    /// Nothing there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { exit: Exit::NotFound, message: message.into(), hint: None }
    }

    /// Not reachable.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unavailable, message: message.into(), hint: None }
    }

    /// Failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: None }
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints an error with its causes and hint to stderr and gives its exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let fault = error.chain().find_map(|cause| cause.downcast_ref::<Fault>());
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    eprintln!("{text}");
    if let Some(hint) = fault.and_then(|fault| fault.hint.as_deref()) {
        eprintln!("hint: {hint}");
    }
    fault.map_or(Exit::Failed, |fault| fault.exit).into()
}
