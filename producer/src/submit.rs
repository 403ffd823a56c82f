//! The one way in: validate, accept in one transaction, publish.
//!
//! Invariant: once [`Intake::submit`] returns `Ok`, every new job is a committed row; whether the
//! broker took its message does not matter to the caller, since the dispatcher publishes what was
//! not confirmed. Called by the HTTP API, by `bul submit --direct` and by the demo.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bul_broker::{Broker, Message};
use bul_job::{
    Event, EventKind, FieldError, Group, JobError, JobId, Limits, RawJob, State, TenantId, Timestamp,
    ValidJob,
};
use bul_store::{Accepted, NewJob, Ready, Store, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;
use prometheus::{IntCounterVec, Registry};
use tracing::{debug, warn};

use crate::templates::Templates;
use crate::together::Together;

/// Jobs in one submission, which is one transaction. Too high: one caller holds the store's only
/// writer for seconds. Too low: a large import needs many round trips.
pub const BATCH_JOBS_MAX: usize = 1_000;
/// How long a caller waits for the broker; behind it the dispatcher takes over.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);
/// Tries to accept. A store that lost the connection may have committed: repeating with the same
/// ids finds that out, where the caller, without an idempotency key, would make a second job.
const ACCEPT_TRIES: u32 = 2;
/// Bad places reported in one answer.
const ERRORS_MAX: usize = 100;

/// What to do when some jobs of a submission are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubmitMode {
    /// Nothing is accepted; all that is wrong is reported.
    #[default]
    AllOrNothing,
    /// The good ones are accepted, the others answered with [`Outcome::Invalid`].
    Each,
}

/// Answer to one job of a submission, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub struct SubmitAnswer {
    /// Where it stood in the input.
    pub place: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a submitted job.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is a new job.
    New {
        /// Its id.
        id: JobId,
        /// Waiting or queued.
        state: State,
    },
    /// It was there already: same idempotency key and content, or `dedup`.
    Existing {
        /// Its id.
        id: JobId,
        /// Where it is.
        state: State,
    },
    /// Its idempotency key belongs to another job of different content; nothing was made.
    Conflict {
        /// The job that holds the key.
        id: JobId,
    },
    /// It is wrong; only with [`SubmitMode::Each`].
    Invalid {
        /// What is wrong.
        errors: Vec<FieldError>,
    },
}

/// What is wrong with one job of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadJob {
    /// Where it stood in the input.
    pub place: String,
    /// What is wrong; pointers are relative to the job.
    pub errors: Vec<FieldError>,
}

/// A submission of which nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// No job in it.
    #[error("there is no job in the submission")]
    Empty,
    /// Too many jobs for one transaction.
    #[error("the submission holds {given} jobs, at most {BATCH_JOBS_MAX} are allowed; split it")]
    TooMany {
        /// Jobs given.
        given: usize,
    },
    /// Jobs are wrong.
    #[error("{}", describe(.0))]
    Invalid(Vec<BadJob>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This process fails.
    #[error("the submission could not be checked: {0}")]
    Internal(String),
}

fn describe(bad: &[BadJob]) -> String {
    let first = bad.first().map(|job| {
        let place = if job.place.is_empty() { String::new() } else { format!("{}: ", job.place) };
        let errors: Vec<String> = job.errors.iter().map(ToString::to_string).collect();
        format!("{place}{}", errors.join("; "))
    });
    let rest = if bad.len() > 1 { format!(" (and {} more jobs)", bad.len() - 1) } else { String::new() };
    format!("{}{rest}", first.unwrap_or_default())
}

/// Accepts jobs.
#[derive(Clone)]
pub struct Intake {
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    together: Together,
    templates: Arc<dyn Templates>,
    limits: Limits,
    metrics: Option<Metrics>,
}

#[derive(Clone)]
struct Metrics {
    submitted: IntCounterVec,
    publish_failures: IntCounterVec,
}

impl Intake {
    /// An intake with default limits and no metrics.
    pub fn new(store: Arc<dyn Store>, broker: Arc<dyn Broker>, templates: Arc<dyn Templates>) -> Self {
        let together = Together::new(broker.clone());
        Self { store, broker, together, templates, limits: Limits::default(), metrics: None }
    }

    /// Other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Counts submissions. Once per registry.
    #[must_use]
    pub fn with_metrics(mut self, registry: &Registry) -> Self {
        use bul_telemetry::{counter, names};
        self.metrics = Some(Metrics {
            submitted: counter(registry, names::JOBS_SUBMITTED, &["outcome"]),
            publish_failures: counter(registry, names::PUBLISH_FAILURES, &[]),
        });
        self
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Submits jobs, each with its place in the input. Conflicts of idempotency keys are answers, not
    /// errors: they concern one job, and the others of the batch are accepted.
    pub fn submit<'a>(
        &'a self,
        tenant: &'a TenantId,
        jobs: Vec<(RawJob, String)>,
        source: &'a str,
        mode: SubmitMode,
    ) -> BoxFuture<'a, Result<Vec<SubmitAnswer>, SubmitError>> {
        async move {
            match jobs.len() {
                0 => return Err(SubmitError::Empty),
                given if given > BATCH_JOBS_MAX => return Err(SubmitError::TooMany { given }),
                _ => {}
            }
            let checked = self.check(jobs).await?;
            let bad: Vec<BadJob> =
                checked.iter().filter_map(|(_, job)| job.as_ref().err().cloned()).collect();
            self.count("invalid", bad.len());
            if !bad.is_empty() && mode == SubmitMode::AllOrNothing {
                return Err(SubmitError::Invalid(bad));
            }
            let mut new = Vec::with_capacity(checked.len());
            let mut verdicts = Vec::with_capacity(checked.len());
            for (place, job) in checked {
                let verdict = job.map(|job| {
                    let id = JobId::in_group(Group::of(tenant, &job));
                    new.push(NewJob { id, tenant: tenant.clone(), job, source: source.into() });
                });
                verdicts.push((place, verdict));
            }
            let accepted = self.accept(&new).await?;
            self.announce(tenant, &accepted).await;
            Ok(self.answers(verdicts, accepted))
        }
        .boxed()
    }

    /// Validates without accepting; one answer per job. The dry plan of a template may take long for large data, so it
    /// runs beside the request threads then.
    async fn check(&self, jobs: Vec<(RawJob, String)>) -> Result<Vec<Checked>, SubmitError> {
        let (templates, limits, now) = (self.templates.clone(), self.limits, self.store.now());
        let is_small = bul_job::are_small(jobs.iter().map(|(job, _)| job));
        let work = move || {
            let mut errors_left = ERRORS_MAX;
            jobs.into_iter()
                .map(|(raw, place)| {
                    let result = check_one(raw, now, &limits, templates.as_ref());
                    let result = result.map_err(|mut errors| {
                        errors.truncate(errors_left.max(1));
                        errors_left = errors_left.saturating_sub(errors.len());
                        BadJob { place: place.clone(), errors }
                    });
                    (place, result)
                })
                .collect()
        };
        if is_small {
            let panicked = |_| SubmitError::Internal("internal error, see the log".into());
            return std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(panicked);
        }
        tokio::task::spawn_blocking(work).await.map_err(|e| SubmitError::Internal(e.to_string()))
    }

    async fn accept(&self, new: &[NewJob]) -> Result<Vec<Accepted>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let mut tries = 1;
        loop {
            match self.store.accept(new).await {
                Err(StoreError::Unavailable(why)) if tries < ACCEPT_TRIES => {
                    debug!(why, "accepting again");
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Tells broker and watchers. Nothing here may fail the submission: the rows are committed.
    async fn announce(&self, tenant: &TenantId, accepted: &[Accepted]) {
        let mut messages = Vec::new();
        let mut events = Vec::new();
        let at = self.store.now();
        for answer in accepted {
            if let Accepted::New { id, state, publish } = answer {
                let kind = EventKind::State { state: *state, attempt: 0, message: None };
                events.push(Event { tenant: tenant.clone(), job: *id, at, kind });
                messages.extend(publish.clone().map(message));
            }
        }
        // The state event goes first: a worker may answer at once, and "queued" must not follow "running".
        let work = async {
            for event in events {
                if let Err(error) = self.broker.publish_event(event).await {
                    debug!(%error, "event not sent");
                    break;
                }
            }
            self.publish(&messages).await
        };
        let result = tokio::time::timeout(PUBLISH_TIMEOUT, work).await;
        let failure = match result {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => format!("no confirmation within {} s", PUBLISH_TIMEOUT.as_secs()),
        };
        warn!(jobs = messages.len(), error = failure, "publication not confirmed, the dispatcher repeats it");
        if let Some(metrics) = &self.metrics {
            metrics.publish_failures.with_label_values::<&str>(&[]).inc_by(messages.len() as u64);
        }
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), String> {
        if messages.is_empty() {
            return Ok(());
        }
        self.together.publish(messages).await.map_err(|e| e.to_string())?;
        let confirmed: Vec<_> = messages.iter().map(|m| (m.job, m.publish)).collect();
        self.store.published(&confirmed).await.map_err(|e| e.to_string())
    }

    fn answers(&self, verdicts: Vec<Verdict>, accepted: Vec<Accepted>) -> Vec<SubmitAnswer> {
        let mut accepted = accepted.into_iter();
        verdicts
            .into_iter()
            .filter_map(|(place, job)| {
                let outcome = match job {
                    Err(bad) => Outcome::Invalid { errors: bad.errors },
                    Ok(()) => outcome(accepted.next()?),
                };
                match &outcome {
                    Outcome::New { .. } => self.count("new", 1),
                    Outcome::Existing { .. } => self.count("existing", 1),
                    Outcome::Conflict { .. } => self.count("conflict", 1),
                    Outcome::Invalid { .. } => {}
                }
                Some(SubmitAnswer { place, outcome })
            })
            .collect()
    }

    fn count(&self, outcome: &str, n: usize) {
        if let Some(metrics) = &self.metrics {
            metrics.submitted.with_label_values(&[outcome]).inc_by(n as u64);
        }
    }
}

/// A job of a submission with its place: checked, and then with the job handed on.
type Checked = (String, Result<ValidJob, BadJob>);
type Verdict = (String, Result<(), BadJob>);

/// The checks every job passes on its way in, wherever it comes from: the general rules, then what
/// its template wants.
pub fn check_one(
    raw: RawJob,
    now: Timestamp,
    limits: &Limits,
    templates: &dyn Templates,
) -> Result<ValidJob, Vec<FieldError>> {
    let bytes = json_bytes(&raw);
    if bytes > limits.job_bytes_max {
        let too_large = JobError::TooLarge { bytes, bytes_max: limits.job_bytes_max };
        return Err(vec![FieldError::new("", too_large.to_string())]);
    }
    let job = ValidJob::parse(raw, now, limits).map_err(|error| match error {
        JobError::Fields(errors) => errors,
        JobError::Syntax(_) | JobError::TooLarge { .. } => vec![FieldError::new("", error.to_string())],
    })?;
    templates.check(&job)?;
    Ok(job)
}

/// Size of a job as JSON. In a batch, and from other formats, the body says nothing about one job.
fn json_bytes(raw: &RawJob) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail, and a job whose maps have text keys can always be written.
    let written = serde_json::to_writer(&mut count, raw);
    if written.is_ok() { count.0 } else { usize::MAX }
}

fn message(ready: Ready) -> Message {
    Message { job: ready.id, tenant: ready.tenant, lane: ready.lane, publish: ready.publish }
}

fn outcome(accepted: Accepted) -> Outcome {
    match accepted {
        Accepted::New { id, state, .. } => Outcome::New { id, state },
        Accepted::Existing { id, state } => Outcome::Existing { id, state },
        Accepted::Conflict { id } => Outcome::Conflict { id },
    }
}
