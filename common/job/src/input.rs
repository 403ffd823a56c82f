//! What the state machine is told, and what it answers.

use std::time::Duration;

use crate::{AttemptNo, DeadReason, Failure, Parked, PublishNo, State, Timestamp};

/// What happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Its `due_at` has passed.
    Due,
    /// The broker confirmed this publication.
    Published(PublishNo),
    /// Its tenant may have no more jobs at work: it waits for a place and spends nothing.
    Park {
        /// Why.
        why: Parked,
    },
    /// There is a place for it.
    Release,
    /// A worker received it and asks for the lease.
    Begin {
        /// Until when, unless it is extended.
        lease: Duration,
    },
    /// The attempt is alive.
    Extend {
        /// Attempt.
        attempt: AttemptNo,
        /// Until when, from now.
        lease: Duration,
    },
    /// The attempt has produced its documents.
    Complete {
        /// Attempt.
        attempt: AttemptNo,
    },
    /// The attempt failed.
    Fail {
        /// Attempt.
        attempt: AttemptNo,
        /// How.
        failure: Failure,
    },
    /// The worker gives the job back unfinished: it shuts down, or cannot do it.
    HandBack {
        /// Attempt.
        attempt: AttemptNo,
        /// Before this nobody shall try again.
        wait: Duration,
    },
    /// The process that held the lease is known to be gone.
    Orphaned,
    /// The user wants it to end.
    Cancel,
    /// The operator wants a dead letter to run again.
    Replay {
        /// When; `None` for at once.
        at: Option<Timestamp>,
    },
}

/// What the caller must do once the new state is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Publish to the broker under this number.
    Publish(PublishNo),
    /// Run the attempt.
    Run(AttemptNo),
}

/// An accepted input: the change is in the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// What to do next.
    pub action: Action,
    /// Set when the job just became dead.
    pub dead: Option<DeadReason>,
}

/// An input that does not apply; the core is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The job is at its end: a redelivery is acknowledged without work.
    #[error("the job is already {0}")]
    Final(State),
    /// Another attempt has taken over: nothing this one does may be stored.
    #[error("attempt {given} is fenced off, the latest is {latest}")]
    Fenced {
        /// Attempt that tried.
        given: AttemptNo,
        /// Attempt in charge.
        latest: AttemptNo,
    },
    /// The input makes no sense in this state, for example a redelivery while another attempt runs.
    #[error("not possible while the job is {0}")]
    NotNow(State),
    /// Not due yet, or a confirmation of an older publication.
    #[error("out of date")]
    Stale,
}
