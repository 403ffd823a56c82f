//! Rows, questions and answers of the model store.

use bul_job::{AttemptNo, DeadReason, FailureClass, JobCore, Lane, MissedPolicy, PublishNo, Refused};
use bul_job::{ScheduleSpec, State, Timestamp};

/// A job's id, made by whoever submits it.
pub type JobNo = u32;

/// What makes two submissions the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Given by a user.
    User(u32),
    /// Name of a message of another program.
    Message(u32),
    /// A fire of a schedule.
    Fire(usize, Timestamp),
}

/// How a job behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It works.
    Good,
    /// It works after that many failures.
    Flaky(u32),
    /// It fails for good.
    Broken,
    /// It fails in a way that endangers workers.
    Deadly,
    /// It kills its worker, whatever runs beside it.
    Poison,
}

/// What a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// How it behaves.
    pub nature: Nature,
    /// Its lane.
    pub lane: Lane,
    /// Not before.
    pub run_at: Option<Timestamp>,
    /// Not after.
    pub deadline: Option<Timestamp>,
    /// Failures allowed.
    pub max_attempts: u32,
    /// Formats to write.
    pub formats: u8,
    /// Duration of an attempt.
    pub work_ms: u64,
}

/// A job to accept.
#[derive(Debug, Clone, Copy)]
pub struct NewJob {
    /// Its id.
    pub id: JobNo,
    /// Its tenant.
    pub tenant: usize,
    /// What makes it unique.
    pub key: Option<Key>,
    /// What it is.
    pub body: Body,
}

/// A row.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its tenant.
    pub tenant: usize,
    /// What it is; `None` when nobody could read it.
    pub body: Option<Body>,
    /// How it behaved when it died, while it is a dead letter that an operator has mended.
    pub unmended: Option<Nature>,
    /// The machine's part.
    pub core: JobCore,
    /// Documents: format and the attempt that wrote it.
    pub documents: Vec<(u8, AttemptNo)>,
}

/// Answer to an accepted job.
#[derive(Debug, Clone, Copy)]
pub enum Accepted {
    /// A new row, to be published if it is ready.
    New(JobNo, Option<Ready>),
    /// It was there.
    Existing(JobNo),
    /// The key belongs to something else.
    Conflict,
}

impl Accepted {
    /// What is to be published.
    pub fn ready(self) -> Option<Ready> {
        match self {
            Self::New(_, ready) => ready,
            Self::Existing(_) | Self::Conflict => None,
        }
    }
}

/// A job that is ready for the broker.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// Job.
    pub job: JobNo,
    /// Lane.
    pub lane: Lane,
    /// Publication.
    pub publish: PublishNo,
}

/// Rows that were due.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// To publish.
    pub ready: Vec<Ready>,
    /// Rows looked at.
    pub seen: usize,
}

/// Answer to a worker that asks for the lease.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    /// Run it.
    Run(Attempt),
    /// Nothing to do.
    Skip(State),
}

/// An attempt that holds the lease.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Job.
    pub job: JobNo,
    /// The fence.
    pub attempt: AttemptNo,
    /// Failures so far.
    pub failures: u32,
    /// Whether it must have its worker to itself.
    pub alone: bool,
    /// What to do.
    pub body: Body,
}

/// A failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// No answer: it may have taken effect.
    Unavailable,
    /// The state does not allow it.
    Refused(Refused),
    /// No such row.
    NotFound,
}

impl StoreError {
    /// Whether another attempt has taken over, or the job has ended.
    pub fn is_fenced(self) -> bool {
        matches!(self, Self::Refused(Refused::Fenced { .. } | Refused::Final(_)))
    }

    /// Whether it may go better later.
    pub fn is_transient(self) -> bool {
        self == Self::Unavailable
    }
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// When.
    pub spec: ScheduleSpec,
    /// Missed fires.
    pub missed: MissedPolicy,
    /// Its tenant.
    pub tenant: usize,
    /// First fire.
    pub starts_at: Timestamp,
    /// Next fire.
    pub next_at: Option<Timestamp>,
    /// Whether it is paused: after the chaos.
    pub paused: bool,
}

/// Why a row changed, for the watch over the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Accepted, under this key.
    Accepted(Option<Key>),
    /// Due.
    Due,
    /// Confirmed.
    Published,
    /// A worker asked for the lease.
    Begun,
    /// The lease was extended.
    Extended,
    /// Completed.
    Completed,
    /// Failed.
    Failed(FailureClass),
    /// Handed back.
    HandedBack,
    /// Its process is known to be gone.
    Orphaned,
    /// The broker may have lost its message.
    Lost,
    /// The user wants it to end.
    Cancelled,
    /// The operator wants it to run again, at this time.
    Replayed(Timestamp),
}

/// Something that was committed.
#[derive(Debug, Clone)]
pub enum Change {
    /// A row.
    Job {
        /// Which.
        id: JobNo,
        /// Why.
        why: Why,
        /// The machine's part before; `None` for a new row.
        before: Option<JobCore>,
        /// And after.
        after: JobCore,
        /// Why it just became dead.
        dead: Option<DeadReason>,
    },
    /// A document.
    Document {
        /// Job.
        id: JobNo,
        /// Format.
        format: u8,
        /// Who wrote it.
        attempt: AttemptNo,
    },
    /// A fire of a schedule, and up to where its calendar is decided now.
    Fired {
        /// Schedule.
        schedule: usize,
        /// Times for which jobs were made.
        made: Vec<Timestamp>,
        /// Next fire.
        next_at: Option<Timestamp>,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job { id, why, before, after, dead } => {
                let was = before.as_ref().map_or("nothing", |core| core.state.as_str());
                let JobCore { state, attempt, publish, failures, crashes, .. } = after;
                let due = after.due_at.map(|due| due.format("%H:%M:%S%.3f").to_string());
                write!(f, "  job {id}: {was} → {state} ({why:?}), attempt {attempt}, publication {publish}")?;
                write!(f, ", due {}", due.as_deref().unwrap_or("never"))?;
                write!(f, ", {failures} failures, {crashes} crashes")?;
                dead.map_or(Ok(()), |reason| write!(f, ", dead: {reason:?}"))
            }
            Self::Document { id, format, attempt } => {
                write!(f, "  job {id}: document {format} of attempt {attempt}")
            }
            Self::Fired { schedule, made, next_at } => {
                let time = |at: &Timestamp| at.format("%H:%M").to_string();
                let made: Vec<String> = made.iter().map(time).collect();
                write!(f, "  schedule {schedule} fires for {made:?}, next {:?}", next_at.as_ref().map(time))
            }
        }
    }
}
