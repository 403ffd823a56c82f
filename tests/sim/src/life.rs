//! What the watch over the rules remembers of one job, from the journal and from what workers and users
//! say: independent of the row, so that a row that lies is found out.

use bul_job::{AttemptNo, DeadReason, JobCore, Rules, State, Timestamp};

use crate::invariants::{Broken, Rule, broken};
use crate::store_types::{Body, JobNo, Nature, Why};

/// The life of a job.
#[derive(Debug, Default)]
pub struct Life {
    /// State after the last change.
    pub state: Option<State>,
    /// Whether that change was the confirmation of its latest publication.
    pub confirmed: bool,
    /// Latest attempt that held the lease.
    attempt: AttemptNo,
    /// Numbers that workers were given.
    numbers: Vec<AttemptNo>,
    documents: Vec<(u8, AttemptNo)>,
    completed: u32,
    /// Failures that workers have reported in this life; the same since the first day.
    failed: u32,
    vanished: u32,
    /// Workers that this job has killed in this life.
    kills: u32,
    cancelled: bool,
    deaths: u32,
    replays: u32,
    dead: Option<DeadReason>,
    died_at: Option<Timestamp>,
    /// Latest attempt of the lives before the last replay.
    replayed_behind: AttemptNo,
    /// From where on the replay should run, until it does.
    replay_pending: Option<Timestamp>,
}

impl Life {
    /// A committed change.
    pub fn change(
        &mut self,
        id: JobNo,
        why: Why,
        before: Option<&JobCore>,
        after: &JobCore,
        dead: Option<DeadReason>,
        at: Timestamp,
    ) -> Result<(), Broken> {
        let was = before.map(|core| core.state);
        if was != self.state {
            return broken(Rule::Ends, format!("job {id} is {was:?} and was left {:?}", self.state));
        }
        if matches!(why, Why::Replayed(_)) && was != Some(State::Dead) {
            return broken(Rule::Replay, format!("job {id} is replayed although {was:?}"));
        }
        if was.is_some_and(State::is_final) && was != Some(after.state) {
            self.revive(id, why, was)?;
        }
        if after.state == State::Running && was != Some(State::Running) {
            self.begin(id, after)?;
        }
        if was == Some(State::Running) && after.state != State::Running && !said_so(why) {
            self.vanished += 1;
        }
        if after.state == State::Completed && was != Some(State::Completed) {
            self.completed += 1;
            if self.completed > 1 {
                return broken(Rule::Once, format!("job {id} is completed a second time"));
            }
        }
        if why == Why::Cancelled {
            self.cancelled = true;
        }
        if dead.is_some() {
            self.deaths += 1;
            self.dead = dead;
            self.died_at = Some(at);
            if let (Some(from), Some(DeadReason::DeadlinePassed)) = (self.replay_pending, dead)
                && before.and_then(|core| core.deadline).is_some_and(|deadline| deadline <= from)
            {
                let why = "was replayed and died of a deadline that lay before its release";
                return broken(Rule::Replay, format!("job {id} {why}"));
            }
        }
        self.state = Some(after.state);
        self.confirmed = why == Why::Published && after.state == State::Queued;
        if after.failures > self.failed {
            let (spent, failed) = (after.failures, self.failed);
            return broken(
                Rule::Accounts,
                format!("job {id} has spent {spent} attempts for {failed} failures"),
            );
        }
        Ok(())
    }

    fn revive(&mut self, id: JobNo, why: Why, was: Option<State>) -> Result<(), Broken> {
        let Why::Replayed(from) = why else {
            return broken(Rule::Ends, format!("job {id} was {was:?} and goes on because {why:?}"));
        };
        self.replays += 1;
        if self.replays > self.deaths {
            return broken(Rule::Replay, format!("job {id} is replayed more often than it died"));
        }
        (self.failed, self.vanished, self.kills, self.cancelled) = (0, 0, 0, false);
        self.dead = None;
        self.replayed_behind = self.attempt;
        self.replay_pending = Some(from);
        Ok(())
    }

    fn begin(&mut self, id: JobNo, after: &JobCore) -> Result<(), Broken> {
        if self.cancelled {
            return broken(Rule::Cancelled, format!("job {id} was cancelled and runs again"));
        }
        if self.completed > 0 {
            return broken(Rule::Once, format!("job {id} is completed and runs again"));
        }
        if after.attempt <= self.attempt {
            let no = after.attempt;
            return broken(
                Rule::Fence,
                format!("job {id} runs under the number {no}, which was given before"),
            );
        }
        self.attempt = after.attempt;
        self.replay_pending = None;
        Ok(())
    }

    /// A worker was given the lease under this number.
    pub fn started(&mut self, id: JobNo, attempt: AttemptNo) -> Result<(), Broken> {
        if self.numbers.contains(&attempt) || attempt == AttemptNo(0) {
            return broken(Rule::Fence, format!("two workers run job {id} under the number {attempt}"));
        }
        self.numbers.push(attempt);
        Ok(())
    }

    /// A worker says that its attempt has failed.
    pub fn fails(&mut self) {
        self.failed += 1;
    }

    /// The job has killed a worker.
    pub fn kills(&mut self, id: JobNo, attempt: AttemptNo, rules: &Rules) -> Result<(), Broken> {
        // An attempt of an earlier life that was frozen meanwhile was counted in that life.
        self.kills += u32::from(attempt > self.replayed_behind);
        if self.kills > rules.crashes_max {
            return broken(Rule::Poison, format!("job {id} has killed {} workers", self.kills));
        }
        Ok(())
    }

    /// A document was stored.
    pub fn document(&mut self, id: JobNo, format: u8, attempt: AttemptNo) -> Result<(), Broken> {
        if self.state != Some(State::Running) || self.attempt != attempt {
            let (latest, state) = (self.attempt, self.state);
            let who = format!("attempt {attempt} stores a document of job {id}");
            return broken(Rule::Fence, format!("{who}, which is {state:?} with attempt {latest} in charge"));
        }
        if self.documents.iter().any(|(known, _)| *known == format) {
            return broken(Rule::Once, format!("job {id} has two documents of format {format}"));
        }
        self.documents.push((format, attempt));
        Ok(())
    }

    /// At the end of the run: whether its end is one that its nature and its users explain.
    pub fn ended(&self, id: JobNo, body: Option<Body>, core: &JobCore, e: &Expect) -> Result<(), Broken> {
        let formats = body.map_or(0, |body| usize::from(body.formats));
        let expected = if core.state == State::Completed { formats } else { 0 };
        if self.documents.len() != expected {
            let found = self.documents.len();
            return broken(Rule::Once, format!("job {id} is {} with {found} documents", core.state));
        }
        if self.cancelled && !matches!(core.state, State::Cancelled | State::Completed) {
            return broken(Rule::Cancelled, format!("job {id} was cancelled and is {}", core.state));
        }
        let nature = body.map(|body| body.nature);
        let explained = match (core.state, self.dead) {
            (State::Completed, _) => {
                !matches!(nature, Some(Nature::Broken | Nature::Deadly | Nature::Poison))
            }
            (State::Cancelled, _) => self.cancelled,
            (State::Dead, Some(DeadReason::Permanent)) => nature == Some(Nature::Broken),
            (State::Dead, Some(DeadReason::Unreadable)) => nature.is_none(),
            (State::Dead, Some(DeadReason::AttemptsSpent)) => self.failed >= core.max_attempts,
            (State::Dead, Some(DeadReason::Poison)) if nature == Some(Nature::Deadly) => true,
            (State::Dead, Some(DeadReason::Poison)) => {
                self.vanished >= e.crashes_max && (e.innocents_may_die || nature == Some(Nature::Poison))
            }
            (State::Dead, Some(DeadReason::DeadlinePassed)) => {
                body.and_then(|b| b.deadline).is_some_and(|deadline| self.died_at >= Some(deadline))
            }
            (State::Dead, None) | (State::Waiting | State::Queued | State::Running, _) => false,
        };
        if explained {
            return Ok(());
        }
        let (dead, vanished, failed) = (self.dead, self.vanished, self.failed);
        let how = format!("{dead:?}, {vanished} attempts vanished, {failed} failed");
        broken(Rule::Ends, format!("job {id}, {nature:?}, is {} without a reason: {how}", core.state))
    }
}

/// What the end of a run is measured by.
#[derive(Debug, Clone, Copy)]
pub struct Expect {
    /// Vanished attempts that make a job poison.
    pub crashes_max: u32,
    /// Whether kills may add up to a dead letter of a job that has done no harm.
    pub innocents_may_die: bool,
}

/// Whether a running attempt ended with an outcome that somebody told.
fn said_so(why: Why) -> bool {
    match why {
        Why::Completed | Why::Failed(_) | Why::HandedBack => true,
        Why::Accepted(_)
        | Why::Due
        | Why::Published
        | Why::Begun
        | Why::Extended
        | Why::Orphaned
        | Why::Lost
        | Why::Cancelled
        | Why::Replayed(_) => false,
    }
}
