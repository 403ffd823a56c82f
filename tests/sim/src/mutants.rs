//! Faults put into the glue on purpose: the simulator must find each of them, or it proves nothing.
//!
//! None of them touches `bul_job` itself. Called by whatever they change.

use bul_job::{Action, Applied, JobCore, Refused, State, Timestamp};
use chrono::TimeDelta;

use crate::store_types::Why;

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The message is acknowledged before the outcome is committed.
    AckBeforeCommit,
    /// The message is acknowledged when the store gave no answer.
    AckOnNoAnswer,
    /// Completing is not fenced.
    NoFence,
    /// Documents are stored in a transaction of their own, before the end.
    DocumentsBefore,
    /// The idempotency key is not looked at.
    NoIdempotency,
    /// The row of a dead letter is lost.
    DeadLetterLost,
    /// Some accepted jobs are not counted.
    NotCounted,
    /// The worker is told the number before its own.
    AttemptOffByOne,
    /// The attempt number stays.
    AttemptStays,
    /// A queued row has no due time: a lost publication is never found.
    NoDueOnQueue,
    /// Any confirmation counts, of whichever publication.
    AnyConfirmation,
    /// A publication is recorded as confirmed although the broker refused it.
    ConfirmUnpublished,
    /// Leases never expire.
    LeaseNeverExpires,
    /// The redelivered message of a finished job runs it again.
    FinishedRunsAgain,
    /// Handing back spends an attempt.
    HandBackSpends,
    /// Vanished attempts are not counted.
    CrashesUncounted,
    /// Nobody looks for what the broker has lost.
    NoReconciler,
    /// No leader, no unique fire, no key of the fire.
    FireUnguarded,
    /// A replay of a job that is not dead.
    ReplayAlive,
    /// A running job that was cancelled is retried when its attempt fails.
    CancelForgotten,
    /// The most urgent lane first, always.
    StrictPriority,
    /// The clocks of the processes decide.
    OwnClockDecides,
    /// A leader that thaws makes fires that another has decided about.
    FireBehindCalendar,
    /// An unreadable message that comes twice makes two dead letters.
    UnreadableTwice,
    /// A confirmed publication is never looked at again.
    NoLookAgain,
    /// A job whose attempts vanished several times runs beside others all the same.
    SuspectsTogether,
}

impl Mutant {
    /// All.
    pub const ALL: [Mutant; 26] = [
        Self::AckBeforeCommit,
        Self::AckOnNoAnswer,
        Self::NoFence,
        Self::DocumentsBefore,
        Self::NoIdempotency,
        Self::DeadLetterLost,
        Self::NotCounted,
        Self::AttemptOffByOne,
        Self::AttemptStays,
        Self::NoDueOnQueue,
        Self::AnyConfirmation,
        Self::ConfirmUnpublished,
        Self::LeaseNeverExpires,
        Self::FinishedRunsAgain,
        Self::HandBackSpends,
        Self::CrashesUncounted,
        Self::NoReconciler,
        Self::FireUnguarded,
        Self::ReplayAlive,
        Self::CancelForgotten,
        Self::StrictPriority,
        Self::OwnClockDecides,
        Self::FireBehindCalendar,
        Self::UnreadableTwice,
        Self::NoLookAgain,
        Self::SuspectsTogether,
    ];
}

/// What a mutated glue makes of a decision of the core.
pub fn after_apply(
    mutant: Option<Mutant>,
    core: &mut JobCore,
    before: &JobCore,
    why: Why,
    now: Timestamp,
    result: Result<Applied, Refused>,
) -> Result<Applied, Refused> {
    let Some(mutant) = mutant else { return result };
    let fine = |action| Ok(Applied { action, dead: None });
    match (mutant, why, &result) {
        (Mutant::NoDueOnQueue, Why::Due, Ok(Applied { action: Action::Publish(_), .. })) => {
            core.due_at = None;
            result
        }
        (Mutant::AttemptStays, Why::Begun, Ok(Applied { action: Action::Run(_), .. })) => {
            core.attempt.0 = before.attempt.0.max(1);
            fine(Action::Run(core.attempt))
        }
        (Mutant::AnyConfirmation, Why::Published, Err(Refused::Stale)) if core.state == State::Queued => {
            core.due_at = Some(now + TimeDelta::seconds(60));
            fine(Action::None)
        }
        (Mutant::FinishedRunsAgain, Why::Begun, Err(Refused::Final(State::Completed))) => {
            core.state = State::Running;
            core.attempt = core.attempt.next();
            core.due_at = Some(now + TimeDelta::seconds(30));
            fine(Action::Run(core.attempt))
        }
        (Mutant::CrashesUncounted, _, Ok(_)) if core.crashes > before.crashes => {
            core.crashes = before.crashes;
            result
        }
        (Mutant::ReplayAlive, Why::Replayed(at), Err(Refused::NotNow(_))) => {
            core.state = State::Waiting;
            core.due_at = Some(at);
            fine(Action::None)
        }
        (Mutant::NoLookAgain, Why::Published, Ok(_)) => {
            core.due_at = None;
            result
        }
        (Mutant::CancelForgotten, Why::Cancelled, Ok(_)) => {
            core.cancel_requested = false;
            result
        }
        _ => result,
    }
}
