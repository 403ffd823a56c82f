//! The life of an attempt: begin, extend, and one of complete, fail and hand back. What each call
//! means for its job; `steps.rs` does many of them at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bul_job::{Action, AttemptNo, Failure, Format, Input, JobId, Refused, State, TenantId, Timestamp};
use bul_store::{Attempt, Begin, Extended, JobStatus, Output, SessionTurn, StoreError, Usage};

use crate::fault::{Fault, corrupt, unique};
use crate::rows::{blob, column, json, micros};
use crate::texts;
use crate::transition::{Draft, all};
use crate::turns;
use crate::wide::{Binds, Wide};
use crate::writer::Tx;

/// Longest lease: a worker that asks for more would hide its own death for longer.
const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);

static COMPLETE: Wide = Wide::new(include_str!("../queries/complete.sql"));
static ADD_DOCUMENTS: Wide = Wide::new(include_str!("../queries/add_documents.sql"));

/// What a worker asks for its job.
pub(crate) enum Call {
    Begin { worker: String, lease: Duration },
    Extend { attempt: AttemptNo, lease: Duration },
    Complete { attempt: AttemptNo, output: Produced },
    Fail { attempt: AttemptNo, failure: Failure },
    HandBack { attempt: AttemptNo, wait: Duration },
}

/// The answer.
pub(crate) enum Reply {
    Begun(Begun),
    /// Where the job is now, and whether the user wants it to end.
    Now(JobStatus, Extended),
}

impl Reply {
    pub(crate) fn begun(self) -> Result<Begun, StoreError> {
        match self {
            Self::Begun(begun) => Ok(begun),
            Self::Now(status, _) => Ok(Begun::Skip(status.state)),
        }
    }

    pub(crate) fn now(self) -> Result<(JobStatus, Extended), StoreError> {
        match self {
            Self::Now(status, extended) => Ok((status, extended)),
            Self::Begun(_) => Err(StoreError::Failed("the answer belongs to another call".into())),
        }
    }
}

/// The answer to a begin.
pub(crate) enum Begun {
    /// What it asks for is parsed by the caller's task, of which there are many.
    Run(Box<Lease>),
    Skip(State),
}

pub(crate) struct Lease {
    id: JobId,
    tenant: TenantId,
    attempt: AttemptNo,
    failures: u32,
    alone: bool,
    accepted_at: Timestamp,
    body: Arc<str>,
}

impl Begun {
    /// The attempt that was given out.
    pub(crate) fn attempt(&self) -> Option<AttemptNo> {
        match self {
            Self::Run(lease) => Some(lease.attempt),
            Self::Skip(_) => None,
        }
    }

    pub(crate) fn parse(self) -> Result<Begin, Fault> {
        match self {
            Self::Skip(state) => Ok(Begin::Skip(state)),
            Self::Run(lease) => Ok(Begin::Run(Box::new(Attempt {
                id: lease.id,
                tenant: lease.tenant,
                attempt: lease.attempt,
                failures: lease.failures,
                alone: lease.alone,
                accepted_at: lease.accepted_at,
                job: json(&lease.body, "a job")?,
            }))),
        }
    }
}

/// An output made ready for the writer.
pub(crate) struct Produced {
    documents: Vec<(Format, Vec<u8>)>,
    /// Two documents of one format: the job has not been completed.
    doubled: bool,
    title: String,
    /// Apart, since calls of all kinds go through one channel and would be as large as this one.
    usage: Box<Usage>,
    findings: Option<String>,
    kept_texts: bool,
    turn: Option<Box<(String, SessionTurn)>>,
}

impl Produced {
    pub(crate) fn new(output: &Output) -> Result<Self, StoreError> {
        let to_json = || serde_json::to_string(&output.findings);
        let findings = (!output.findings.is_empty())
            .then(to_json)
            .transpose()
            .map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let formats: BTreeSet<Format> = output.documents.iter().map(|(format, _)| *format).collect();
        Ok(Self {
            doubled: formats.len() < output.documents.len(),
            documents: output.documents.clone(),
            title: output.title.clone(),
            usage: Box::new(output.usage.clone()),
            findings,
            kept_texts: output.kept_texts,
            turn: output.turn.clone().map(Box::new),
        })
    }
}

impl Produced {
    pub(crate) fn budget_tokens(&self) -> u64 {
        self.usage.budget_tokens()
    }
}

impl Call {
    pub(crate) fn begins(&self) -> bool {
        matches!(self, Self::Begin { .. })
    }

    /// Bytes it carries.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Complete { output, .. } => output.documents.iter().map(|(_, bytes)| bytes.len()).sum(),
            Self::Begin { .. } | Self::Extend { .. } | Self::Fail { .. } | Self::HandBack { .. } => 0,
        }
    }

    /// Applies it to the job. On `Err` nothing has changed.
    pub(crate) fn decide(
        &self,
        tx: &mut Tx,
        draft: &mut Draft,
        body: Option<&Arc<str>>,
    ) -> Result<Reply, StoreError> {
        let input = match self {
            Self::Begin { worker, lease } => return begin(tx, draft, body, worker, *lease),
            Self::Extend { attempt, lease } => {
                Input::Extend { attempt: *attempt, lease: (*lease).min(LEASE_MAX) }
            }
            Self::Complete { attempt, output } => {
                let input = Input::Complete { attempt: *attempt };
                if output.doubled {
                    draft.job.core.clone().apply(&input, tx.now, &tx.rules, &mut tx.rng)?;
                    return Err(StoreError::Conflict("document"));
                }
                input
            }
            Self::Fail { attempt, failure } => Input::Fail { attempt: *attempt, failure: failure.clone() },
            Self::HandBack { attempt, wait } => Input::HandBack { attempt: *attempt, wait: *wait },
        };
        draft.apply(tx, &input)?;
        let extended = Extended { cancel_requested: draft.job.core.cancel_requested };
        Ok(Reply::Now(draft.job.status(), extended))
    }
}

fn begin(
    tx: &mut Tx,
    draft: &mut Draft,
    body: Option<&Arc<str>>,
    worker: &str,
    lease: Duration,
) -> Result<Reply, StoreError> {
    if draft.job.core.state == State::Queued && body.is_none() {
        return Err(corrupt("an open job has no payload").into());
    }
    let input = match draft.park.take() {
        Some(why) => Input::Park { why },
        None => Input::Begin { lease: lease.min(LEASE_MAX) },
    };
    let applied = draft.apply(tx, &input);
    let attempt = match applied.map(|applied| applied.action) {
        Ok(Action::Run(attempt)) => attempt,
        Ok(Action::None | Action::Publish(_)) => return Ok(Reply::Begun(Begun::Skip(draft.job.core.state))),
        Err(Refused::NotNow(state) | Refused::Final(state)) => return Ok(Reply::Begun(Begun::Skip(state))),
        Err(refused) => return Err(refused.into()),
    };
    let Some(body) = body.cloned() else { return Err(corrupt("an open job has no payload").into()) };
    draft.job.worker = Some(worker.to_owned());
    draft.job.started_at = Some(tx.now);
    Ok(Reply::Begun(Begun::Run(Box::new(Lease {
        id: draft.job.id,
        tenant: draft.job.tenant.clone(),
        attempt,
        failures: draft.job.core.failures,
        alone: draft.job.core.runs_alone(&tx.rules),
        accepted_at: draft.job.accepted_at,
        body,
    }))))
}

/// Writes the ends and documents of jobs that are completed.
pub(crate) async fn write_completed(tx: &mut Tx, completed: &[(&Draft, &Produced)]) -> Result<(), Fault> {
    let bind = |(draft, output): &(&Draft, &Produced), binds: &mut Binds| {
        let (job, usage) = (&draft.job, &output.usage);
        binds
            .put(blob(job.id))
            .put(job.core.attempt.0)
            .put(job.ended_at.map(micros))
            .put(output.title.as_str())
            .put(output.findings.as_deref())
            .put(usage.model.as_str())
            .put(column(usage.prompt_tokens))
            .put(column(usage.cached_tokens))
            .put(column(usage.output_tokens))
            .put(finite(usage.generate_ms))
            .put(finite(usage.write_ms))
            .put(finite(usage.total_ms))
            .put(usage.receipt.to_text());
    };
    all(completed.len(), COMPLETE.execute(&mut tx.conn, completed, bind).await?)?;
    let may_have_texts =
        |(draft, output): &&(&Draft, &Produced)| output.kept_texts || draft.job.core.attempt.0 > 1;
    let texts: Vec<JobId> = completed.iter().filter(may_have_texts).map(|(draft, _)| draft.job.id).collect();
    texts::forget(tx, &texts).await?;
    for (draft, output) in completed {
        if let Some(said) = output.turn.as_deref() {
            turns::add(tx, draft, &said.0, &said.1).await?;
        }
    }
    let documents: Vec<(JobId, Format, &[u8])> = completed
        .iter()
        .flat_map(|(draft, output)| output.documents.iter().map(move |d| (draft.job.id, d.0, d.1.as_slice())))
        .collect();
    let bind = |(id, format, bytes): &(JobId, Format, &[u8]), binds: &mut Binds| {
        binds.put(blob(*id)).put(format.as_str()).put(*bytes);
    };
    let added = ADD_DOCUMENTS.execute(&mut tx.conn, &documents, bind).await.map_err(unique("document"))?;
    if added == documents.len() as u64 { Ok(()) } else { Err(StoreError::Conflict("document").into()) }
}

/// SQLite keeps "not a number" as NULL, which the table refuses; a bad measurement must not cost a
/// finished document.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}
