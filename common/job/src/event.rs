//! Lifecycle events: what a watcher sees while a job runs.

use serde::{Deserialize, Serialize};

use crate::{JobId, State, TenantId, Timestamp};

/// Something that happened to a job. State changes come from the store after their commit;
/// progress and tokens come live from the worker and may be lost without harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Tenant.
    pub tenant: TenantId,
    /// Job.
    pub job: JobId,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Kind of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The job changed its state.
    State {
        /// New state.
        state: State,
        /// Attempt, 0 before the first.
        attempt: u32,
        /// For waiting after a failure, dead: what went wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A stage of the attempt was reached.
    Progress {
        /// `plan`, `generate`, `assemble`, `write` or `commit`.
        stage: String,
        /// Parts done in this stage.
        done: u32,
        /// Parts in all.
        total: u32,
    },
    /// A piece of generated text.
    Token {
        /// The prose slot it belongs to.
        slot: String,
        /// Text.
        text: String,
    },
}

impl Event {
    /// Whether the job is at its end: the last event a watcher waits for.
    pub fn is_final(&self) -> bool {
        matches!(&self.kind, EventKind::State { state, .. } if state.is_final())
    }
}
