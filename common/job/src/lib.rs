//! The pure core: what a job is and how it may change.
//!
//! Knows no store, no broker, no runtime and no clock: `now` and `rng` are arguments. Every store
//! applies [`JobCore::apply`] inside its own transaction, so that one state machine rules all.

mod affinity;
mod check;
mod cron;
mod event;
mod failure;
mod ids;
mod input;
mod lane;
mod ledger;
mod limits;
mod raw;
mod response_schema;
mod retry;
mod rules;
mod size;
mod state;
mod valid;

pub use affinity::{Group, PARTITIONS_MAX, Partition, Queue, View};
pub use cron::{CronError, Fires, MissedPolicy, ScheduleSpec};
pub use event::{Event, EventKind};
pub use failure::{Failure, FailureClass};
pub use ids::{AttemptNo, IdError, JobId, PublishNo, ScheduleId, TenantId};
pub use input::{Action, Applied, Input, Refused};
pub use lane::{Lane, LaneWheel};
pub use ledger::{Counts, Ledger};
pub use limits::{BUDGETED_QUEUED_MAX, Load, OwnLimits, Parked, Room, TenantLimits, day_of, minute_of};
pub use raw::{FieldError, JobError, Params, PriorityInput, RawJob};
pub use retry::{RetryBudget, RetryPolicy};
pub use rules::Rules;
pub use size::are_small;
pub use state::{DeadReason, JobCore, State};
pub use valid::{Format, Kind, Limits, ValidJob};

/// Instants are UTC; stores keep them as microseconds.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
