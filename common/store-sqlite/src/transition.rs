//! The one way a job changes: [`JobCore::apply`] inside the transaction, then the row, then the
//! record of the attempt that has ended.
//!
//! Invariant: no other code of this crate changes the state of a job that exists.
//!
//! [`JobCore::apply`]: bul_job::JobCore::apply

use bul_job::{Applied, DeadReason, Failure, Input, JobCore, JobId, State, TenantId};
use bul_store::StoreError;

use crate::fault::{Fault, corrupt};
use crate::rows::{Job, JobRow, blob, class_name, column, micros};
use crate::writer::Tx;

/// Loads a job whatever its tenant: for workers and the dispatcher.
pub(crate) async fn load(tx: &mut Tx, id: JobId) -> Result<Job, Fault> {
    sqlx::query_as::<_, JobRow>(include_str!("../queries/load_job.sql"))
        .bind(blob(id))
        .fetch_optional(&mut tx.conn)
        .await?
        .ok_or(StoreError::NotFound("job"))?
        .try_into()
}

/// Loads a job of a tenant: for users. A foreign job does not exist.
pub(crate) async fn load_of(tx: &mut Tx, tenant: &TenantId, id: JobId) -> Result<Job, Fault> {
    let job = load(tx, id).await?;
    if job.tenant == *tenant { Ok(job) } else { Err(StoreError::NotFound("job").into()) }
}

/// Applies an input and writes what follows from it. On `Err(Refused)` nothing has changed.
pub(crate) async fn apply(tx: &mut Tx, job: &mut Job, input: &Input) -> Result<Applied, Fault> {
    let before = job.core.clone();
    let applied = job.core.apply(input, tx.now, &tx.rules, &mut tx.rng)?;
    note(tx, job, input, &before, &applied);
    save(tx, job, &before).await?;
    if before.state == State::Running && job.core.state != State::Running {
        end_attempt(tx, job, input, &before).await?;
    }
    Ok(applied)
}

/// What stands beside the machine's part: end, reason and words of the last failure.
fn note(tx: &Tx, job: &mut Job, input: &Input, before: &JobCore, applied: &Applied) {
    let mut words = |code: &str, message: String| {
        job.code = Some(code.to_owned());
        job.message = Some(message);
    };
    match input {
        Input::Fail { failure, .. } => words(&failure.code, failure.message.clone()),
        Input::Orphaned => words("crashed", vanished(before)),
        Input::Due if before.state == State::Running => words("crashed", vanished(before)),
        Input::Complete { .. } | Input::Replay { .. } => {
            job.code = None;
            job.message = None;
        }
        Input::Due
        | Input::Published(_)
        | Input::Begin { .. }
        | Input::Extend { .. }
        | Input::HandBack { .. }
        | Input::Cancel => {}
    }
    if applied.dead == Some(DeadReason::DeadlinePassed) {
        job.code = Some(DeadReason::DeadlinePassed.as_str().to_owned());
        job.message = Some("the deadline passed before the job was done".to_owned());
    }
    job.dead_reason = applied.dead;
    job.ended_at = job.core.state.is_final().then_some(tx.now);
}

fn vanished(before: &JobCore) -> String {
    format!("attempt {} ended without an outcome", before.attempt)
}

async fn save(tx: &mut Tx, job: &Job, before: &JobCore) -> Result<(), Fault> {
    let core = &job.core;
    let written = sqlx::query(include_str!("../queries/save_job.sql"))
        .bind(blob(job.id))
        .bind(core.state.as_str())
        .bind(core.attempt.0)
        .bind(core.publish.0)
        .bind(core.failures)
        .bind(core.crashes)
        .bind(core.due_at.map(micros))
        .bind(core.cancel_requested)
        .bind(core.deadline.map(micros))
        .bind(job.dead_reason.map(DeadReason::as_str))
        .bind(job.code.as_deref())
        .bind(job.message.as_deref())
        .bind(job.ended_at.map(micros))
        .bind(before.state.as_str())
        .bind(before.attempt.0)
        .bind(before.publish.0)
        .execute(&mut tx.conn)
        .await?
        .rows_affected();
    if written == 1 { Ok(()) } else { Err(corrupt("a job changed under the write lock")) }
}

/// Closes the record of the attempt that `input` has ended.
async fn end_attempt(tx: &mut Tx, job: &Job, input: &Input, before: &JobCore) -> Result<(), Fault> {
    let (outcome, failure): (&str, Option<&Failure>) = match input {
        Input::Complete { .. } => ("completed", None),
        Input::Fail { failure, .. } => ("failed", Some(failure)),
        Input::HandBack { .. } => ("handed_back", None),
        Input::Due
        | Input::Orphaned
        | Input::Published(_)
        | Input::Begin { .. }
        | Input::Extend { .. }
        | Input::Cancel
        | Input::Replay { .. } => ("crashed", None),
    };
    sqlx::query(include_str!("../queries/end_attempt.sql"))
        .bind(blob(job.id))
        .bind(before.attempt.0)
        .bind(micros(tx.now))
        .bind(outcome)
        .bind(failure.map(|f| class_name(f.class)))
        .bind(failure.map(|f| f.code.as_str()))
        .bind(failure.map(|f| f.message.as_str()))
        .bind(failure.and_then(|f| f.retry_after_ms).map(column))
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}
