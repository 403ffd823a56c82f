//! The state machine of a job: facts in, decision out.
//!
//! ```text
//! accept ─┬─► waiting ──due──► queued ──begin──► running ──┬─► completed
//!         └──────────────────────▲  │              │  │    ├─► dead ──replay──► waiting
//!                 lost publish ──┘  └─cancel─► cancelled ◄─┘    (retry, hand-back,
//!                                                  └─────────►   expired lease: waiting)
//! ```
//!
//! `due_at` is the single clock of a job: the instant at which the dispatcher must look at the row
//! again, whatever its state. A waiting row becomes ready, a queued one lost its publication, a
//! running one lost its worker. Invariant: a job that is not at its end has a `due_at`; that of a queued
//! one whose publication the broker has confirmed lies far off, since the broker may lose it all the same.
//!
//! A queued job whose tenant may have no more at work is *parked*: it waits not for a time but for a place,
//! and its `due_at` is only there for its deadline.

use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::{
    Action, Applied, AttemptNo, Failure, FailureClass, Input, Parked, PublishNo, Refused, Rules, Timestamp,
};

/// How often the dispatcher looks at a parked job without a deadline. It changes nothing, hence seldom.
const PARKED_LOOK: Duration = Duration::from_secs(24 * 3600);

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Delayed, retrying, or blocked by a step.
    Waiting,
    /// Ready; the broker hands it out.
    Queued,
    /// An attempt holds the lease.
    Running,
    /// Finished; its documents are stored.
    Completed,
    /// Ended by the user.
    Cancelled,
    /// A dead letter: nothing more happens until it is replayed.
    Dead,
}

impl State {
    /// All states.
    pub const ALL: [State; 6] =
        [Self::Waiting, Self::Queued, Self::Running, Self::Completed, Self::Cancelled, Self::Dead];

    /// Name as used in JSON and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    /// Parses a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }

    /// Whether the job has ended (a dead one may be replayed).
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Dead)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a job became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// A failure that would repeat.
    Permanent,
    /// All attempts failed.
    AttemptsSpent,
    /// Attempts kept ending without an outcome: the job may kill its workers.
    Poison,
    /// Its deadline passed before it was done.
    DeadlinePassed,
    /// The message could not be read.
    Unreadable,
}

impl DeadReason {
    /// Name as used in JSON and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::AttemptsSpent => "attempts_spent",
            Self::Poison => "poison",
            Self::DeadlinePassed => "deadline_passed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The part of a job that the machine owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCore {
    /// State.
    pub state: State,
    /// Latest attempt; 0 before the first. Never decreases: it fences every write of a result.
    pub attempt: AttemptNo,
    /// Latest publication; 0 before the first.
    pub publish: PublishNo,
    /// Failed attempts that count against `max_attempts`.
    pub failures: u32,
    /// Attempts that ended without an outcome.
    pub crashes: u32,
    /// Failures allowed before the job is dead; at least 1.
    pub max_attempts: u32,
    /// When the dispatcher must look at the row again.
    pub due_at: Option<Timestamp>,
    /// The user asked a running job to end.
    pub cancel_requested: bool,
    /// Latest useful completion.
    pub deadline: Option<Timestamp>,
    /// Set while the job waits for a place and not for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
}

impl JobCore {
    /// A job at its acceptance: waiting until `run_at` where that lies ahead, else queued with its
    /// first publication under way.
    pub fn accept(
        now: Timestamp,
        run_at: Option<Timestamp>,
        deadline: Option<Timestamp>,
        max_attempts: u32,
        rules: &Rules,
    ) -> (Self, Action) {
        let mut core = Self {
            state: State::Waiting,
            attempt: AttemptNo(0),
            publish: PublishNo(0),
            failures: 0,
            crashes: 0,
            max_attempts: max_attempts.max(1),
            due_at: run_at,
            cancel_requested: false,
            deadline,
            parked: None,
        };
        let action = match run_at {
            Some(at) if at > now => Action::None,
            _ => core.queue(now, rules),
        };
        (core, action)
    }

    /// Applies an input. On `Err` nothing has changed.
    pub fn apply(
        &mut self,
        input: &Input,
        now: Timestamp,
        rules: &Rules,
        rng: &mut impl Rng,
    ) -> Result<Applied, Refused> {
        if self.state.is_final() && !(self.state == State::Dead && matches!(input, Input::Replay { .. })) {
            return Err(Refused::Final(self.state));
        }
        match input {
            Input::Due => self.due(now, rules, rng),
            Input::Published(no) => self.published(*no, now, rules),
            Input::Park { why } => self.park(now, *why),
            Input::Release => self.release(now, rules),
            Input::Begin { lease } => self.begin(now, *lease),
            Input::Extend { attempt, lease } => {
                self.fence(*attempt)?;
                self.due_at = Some(now + *lease);
                Ok(done(Action::None))
            }
            Input::Complete { attempt } => {
                self.fence(*attempt)?;
                Ok(self.end(State::Completed, None))
            }
            Input::Fail { attempt, failure } => {
                self.fence(*attempt)?;
                Ok(self.fail(failure, now, rules, rng))
            }
            Input::HandBack { attempt, wait } => {
                self.fence(*attempt)?;
                Ok(self.give_up_lease(now + *wait))
            }
            Input::Orphaned => match self.state {
                State::Running => Ok(self.crash(now, rules, rng)),
                other => Err(Refused::NotNow(other)),
            },
            Input::Cancel => Ok(self.cancel()),
            Input::Replay { at } => self.replay(now, *at),
        }
    }

    /// Whether this attempt is in charge, for what is written beside the job while it runs.
    ///
    /// # Errors
    /// As [`Self::apply`] refuses what another attempt asks for.
    pub fn check_fence(&self, attempt: AttemptNo) -> Result<(), Refused> {
        if self.state.is_final() { Err(Refused::Final(self.state)) } else { self.fence(attempt) }
    }

    /// Refuses everyone but the attempt in charge.
    fn fence(&self, attempt: AttemptNo) -> Result<(), Refused> {
        match self.state {
            State::Running if self.attempt == attempt => Ok(()),
            _ => Err(Refused::Fenced { given: attempt, latest: self.attempt }),
        }
    }

    fn due(&mut self, now: Timestamp, rules: &Rules, rng: &mut impl Rng) -> Result<Applied, Refused> {
        if self.due_at.is_none_or(|due| due > now) {
            return Err(Refused::Stale);
        }
        match self.state {
            State::Waiting | State::Queued if self.overdue(now) => {
                Ok(self.end(State::Dead, Some(DeadReason::DeadlinePassed)))
            }
            State::Waiting if self.parked.is_some() => {
                self.due_at = Some(self.parked_due(now));
                Ok(done(Action::None))
            }
            State::Waiting | State::Queued => Ok(done(self.queue(now, rules))),
            State::Running => Ok(self.crash(now, rules, rng)),
            State::Completed | State::Cancelled | State::Dead => Err(Refused::Final(self.state)),
        }
    }

    /// Only the latest publication counts: an older one may be the very message that was lost. A broker
    /// may lose what it has confirmed, hence the row is looked at again, far off.
    fn published(&mut self, no: PublishNo, now: Timestamp, rules: &Rules) -> Result<Applied, Refused> {
        if self.state != State::Queued || self.publish != no {
            return Err(Refused::Stale);
        }
        self.due_at = self.due_at.max(Some(now + rules.look_again_after(no)));
        Ok(done(Action::None))
    }

    /// The message that brought it to a worker, or would have been its first, is not needed: the row is the
    /// record, and [`Input::Release`] makes another.
    fn park(&mut self, now: Timestamp, why: Parked) -> Result<Applied, Refused> {
        match self.state {
            State::Queued if self.overdue(now) => Ok(self.end(State::Dead, Some(DeadReason::DeadlinePassed))),
            State::Queued => {
                let applied = self.wait_until(self.parked_due(now));
                self.parked = Some(why);
                Ok(applied)
            }
            other => Err(Refused::NotNow(other)),
        }
    }

    fn parked_due(&self, now: Timestamp) -> Timestamp {
        let look = now + PARKED_LOOK;
        self.deadline.map_or(look, |deadline| deadline.min(look))
    }

    fn release(&mut self, now: Timestamp, rules: &Rules) -> Result<Applied, Refused> {
        if self.state != State::Waiting || self.parked.is_none() {
            return Err(Refused::NotNow(self.state));
        }
        if self.overdue(now) {
            return Ok(self.end(State::Dead, Some(DeadReason::DeadlinePassed)));
        }
        Ok(done(self.queue(now, rules)))
    }

    /// Any publication of a queued job may start it, since the broker promises at least one delivery
    /// of one of them; what makes it run once is the attempt number.
    fn begin(&mut self, now: Timestamp, lease: Duration) -> Result<Applied, Refused> {
        match self.state {
            State::Queued if self.overdue(now) => Ok(self.end(State::Dead, Some(DeadReason::DeadlinePassed))),
            State::Queued => {
                self.state = State::Running;
                self.attempt = self.attempt.next();
                self.due_at = Some(now + lease);
                Ok(done(Action::Run(self.attempt)))
            }
            other => Err(Refused::NotNow(other)),
        }
    }

    /// A job that was cancelled ends cancelled, however its attempt failed: as a dead letter it would be
    /// among those that an operator replays, and run although nobody wants it.
    fn fail(&mut self, failure: &Failure, now: Timestamp, rules: &Rules, rng: &mut impl Rng) -> Applied {
        if self.cancel_requested {
            return self.end(State::Cancelled, None);
        }
        match failure.class {
            FailureClass::Cancelled => self.end(State::Cancelled, None),
            FailureClass::Permanent => self.end(State::Dead, Some(DeadReason::Permanent)),
            FailureClass::Poison => self.end(State::Dead, Some(DeadReason::Poison)),
            FailureClass::Transient => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.max_attempts {
                    return self.end(State::Dead, Some(DeadReason::AttemptsSpent));
                }
                let delay = rules.retry.delay(self.failures, failure.retry_after_ms, rng);
                self.wait_until(now + delay)
            }
        }
    }

    /// The attempt vanished. That may be the job's fault, so crashes back off and are limited, but
    /// they spend none of the job's own attempts.
    fn crash(&mut self, now: Timestamp, rules: &Rules, rng: &mut impl Rng) -> Applied {
        self.crashes = self.crashes.saturating_add(1);
        if self.cancel_requested {
            return self.end(State::Cancelled, None);
        }
        if self.crashes >= rules.crashes_max {
            return self.end(State::Dead, Some(DeadReason::Poison));
        }
        let delay =
            if self.crashes == 1 { Duration::ZERO } else { rules.retry.delay(self.crashes - 1, None, rng) };
        self.wait_until(now + delay)
    }

    /// Whether an attempt of this job must have its worker's process to itself: its attempts have vanished
    /// before, and whatever runs beside it would vanish with it the next time.
    pub fn runs_alone(&self, rules: &Rules) -> bool {
        self.crashes >= rules.alone_from
    }

    fn give_up_lease(&mut self, again: Timestamp) -> Applied {
        if self.cancel_requested { self.end(State::Cancelled, None) } else { self.wait_until(again) }
    }

    fn cancel(&mut self) -> Applied {
        if self.state == State::Running {
            self.cancel_requested = true;
            done(Action::None)
        } else {
            self.end(State::Cancelled, None)
        }
    }

    /// A replayed job keeps its id and its attempt numbers, so that late messages of its first life
    /// stay fenced; its counters of failure start anew. A deadline that has passed, or will have when the
    /// job is let go, is dropped: the operator decided that the document is still wanted, and with it the
    /// job would only die again.
    fn replay(&mut self, now: Timestamp, at: Option<Timestamp>) -> Result<Applied, Refused> {
        if self.state != State::Dead {
            return Err(Refused::NotNow(self.state));
        }
        self.failures = 0;
        self.crashes = 0;
        self.cancel_requested = false;
        let at = at.unwrap_or(now);
        self.deadline = self.deadline.filter(|deadline| *deadline > at.max(now));
        Ok(self.wait_until(at))
    }

    fn queue(&mut self, now: Timestamp, rules: &Rules) -> Action {
        self.state = State::Queued;
        self.parked = None;
        self.publish = self.publish.next();
        self.due_at = Some(now + rules.publish_grace);
        Action::Publish(self.publish)
    }

    fn wait_until(&mut self, at: Timestamp) -> Applied {
        self.state = State::Waiting;
        self.parked = None;
        self.due_at = Some(at);
        done(Action::None)
    }

    fn end(&mut self, state: State, dead: Option<DeadReason>) -> Applied {
        self.state = state;
        self.parked = None;
        self.due_at = None;
        Applied { action: Action::None, dead }
    }

    fn overdue(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

fn done(action: Action) -> Applied {
    Applied { action, dead: None }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
