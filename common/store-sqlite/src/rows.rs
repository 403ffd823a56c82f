//! Between columns and types: ids, times, names and the row of a job.
//!
//! A value that does not parse means that something else has written to the file:
//! [`bul_store::StoreError::Corrupt`], never a panic and never a guess.

use bul_job::{
    AttemptNo, DeadReason, Failure, FailureClass, Format, JobCore, JobId, Lane, Parked, PublishNo, State,
    TenantId, Timestamp, ValidJob,
};
use bul_store::JobStatus;
use serde::de::DeserializeOwned;

use crate::fault::{Fault, corrupt};
use crate::from_row::row;

/// Microseconds since 1970, as in the tables.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.timestamp_micros()
}

pub(crate) fn time(micros: i64) -> Result<Timestamp, Fault> {
    Timestamp::from_timestamp_micros(micros).ok_or_else(|| corrupt(format!("time {micros} is out of range")))
}

/// Cut to whole microseconds, as a column would.
pub(crate) fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}

pub(crate) fn time_or_none(micros: Option<i64>) -> Result<Option<Timestamp>, Fault> {
    micros.map(time).transpose()
}

/// An id in the form of its sixteen bytes.
pub(crate) fn blob(id: JobId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Any of the UUID ids out of its sixteen bytes.
pub(crate) fn id<T: std::str::FromStr>(bytes: &[u8]) -> Result<T, Fault> {
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| corrupt("an id has not 16 bytes"))?;
    format!("{:032x}", u128::from_be_bytes(bytes)).parse().map_err(|_| corrupt("an id is no UUID"))
}

/// Ids as the JSON array of hexadecimal texts that the queries unpack.
pub(crate) fn id_list(ids: impl IntoIterator<Item = JobId>) -> String {
    let texts: Vec<String> =
        ids.into_iter().map(|id| format!("{:032x}", u128::from_be_bytes(*id.as_bytes()))).collect();
    serde_json::Value::from(texts).to_string()
}

pub(crate) fn tenant(name: &str) -> Result<TenantId, Fault> {
    name.parse().map_err(|_| corrupt("a tenant has an impossible name"))
}

pub(crate) fn state(name: &str) -> Result<State, Fault> {
    State::parse(name).ok_or_else(|| corrupt(format!("unknown state {name:?}")))
}

pub(crate) fn lane(index: i64) -> Result<Lane, Fault> {
    usize::try_from(index)
        .ok()
        .and_then(Lane::from_index)
        .ok_or_else(|| corrupt(format!("unknown lane {index}")))
}

pub(crate) fn format(name: &str) -> Result<Format, Fault> {
    Format::parse(name).ok_or_else(|| corrupt(format!("unknown format {name:?}")))
}

pub(crate) fn dead_reason(name: &str) -> Result<DeadReason, Fault> {
    [
        DeadReason::Permanent,
        DeadReason::AttemptsSpent,
        DeadReason::Poison,
        DeadReason::DeadlinePassed,
        DeadReason::Unreadable,
    ]
    .into_iter()
    .find(|reason| reason.as_str() == name)
    .ok_or_else(|| corrupt(format!("unknown reason {name:?}")))
}

pub(crate) fn parked(name: &str) -> Result<Parked, Fault> {
    Parked::parse(name).ok_or_else(|| corrupt(format!("unknown reason to park {name:?}")))
}

pub(crate) fn class_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Transient => "transient",
        FailureClass::Permanent => "permanent",
        FailureClass::Poison => "poison",
        FailureClass::Cancelled => "cancelled",
    }
}

pub(crate) fn class(name: &str) -> Result<FailureClass, Fault> {
    [FailureClass::Transient, FailureClass::Permanent, FailureClass::Poison, FailureClass::Cancelled]
        .into_iter()
        .find(|class| class_name(*class) == name)
        .ok_or_else(|| corrupt(format!("unknown failure class {name:?}")))
}

/// A counter column.
pub(crate) fn count<T: TryFrom<i64>>(value: i64) -> Result<T, Fault> {
    T::try_from(value).map_err(|_| corrupt(format!("number {value} is out of range")))
}

/// A counter as a column; one beyond the range of SQLite stays at its end.
pub(crate) fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| corrupt(format!("{what} does not parse: {error}")))
}

/// A job to show. One that a newer version has written is shown without what it asks for, since a list must not
/// fail because of one of its lines.
pub(crate) fn readable(text: Option<&str>) -> Option<ValidJob> {
    body(text).ok().flatten()
}

pub(crate) fn body(text: Option<&str>) -> Result<Option<ValidJob>, Fault> {
    text.map(|text| json(text, "a job")).transpose()
}

row! {
    /// The columns of `load_job.sql` and its like.
    pub(crate) struct JobRow {
        id: Vec<u8>,
        tenant: String,
        lane: i64,
        accepted_at: i64,
        started_at: Option<i64>,
        ended_at: Option<i64>,
        purged_at: Option<i64>,
        state: String,
        attempt: i64,
        publish: i64,
        failures: i64,
        crashes: i64,
        max_attempts: i64,
        due_at: Option<i64>,
        cancel_requested: bool,
        deadline: Option<i64>,
        dead_reason: Option<String>,
        failure_code: Option<String>,
        failure_message: Option<String>,
        worker: Option<String>,
        parked: Option<String>,
    }
}

/// The part of a job that a transition needs.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) tenant: TenantId,
    pub(crate) lane: Lane,
    pub(crate) core: JobCore,
    pub(crate) accepted_at: Timestamp,
    /// Of the latest attempt, like its worker.
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) purged: bool,
    pub(crate) dead_reason: Option<DeadReason>,
    /// Code and message of the last failure.
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) worker: Option<String>,
}

impl Job {
    pub(crate) fn status(&self) -> JobStatus {
        JobStatus {
            state: self.core.state,
            attempt: self.core.attempt,
            due_at: self.core.due_at,
            dead_reason: self.dead_reason,
            message: self.message.clone(),
        }
    }
}

impl TryFrom<JobRow> for Job {
    type Error = Fault;

    fn try_from(row: JobRow) -> Result<Self, Fault> {
        Ok(Self {
            id: id(&row.id)?,
            tenant: tenant(&row.tenant)?,
            lane: lane(row.lane)?,
            core: JobCore {
                state: state(&row.state)?,
                attempt: AttemptNo(count(row.attempt)?),
                publish: PublishNo(count(row.publish)?),
                failures: count(row.failures)?,
                crashes: count(row.crashes)?,
                max_attempts: count(row.max_attempts)?,
                due_at: time_or_none(row.due_at)?,
                cancel_requested: row.cancel_requested,
                deadline: time_or_none(row.deadline)?,
                parked: row.parked.as_deref().map(parked).transpose()?,
            },
            accepted_at: time(row.accepted_at)?,
            started_at: time_or_none(row.started_at)?,
            ended_at: time_or_none(row.ended_at)?,
            purged: row.purged_at.is_some(),
            dead_reason: row.dead_reason.as_deref().map(dead_reason).transpose()?,
            code: row.failure_code,
            message: row.failure_message,
            worker: row.worker,
        })
    }
}

/// A recorded failure out of its columns.
pub(crate) fn failure(
    class_column: Option<&str>,
    code: Option<String>,
    message: Option<String>,
    retry_after_ms: Option<i64>,
) -> Result<Option<Failure>, Fault> {
    let Some(name) = class_column else { return Ok(None) };
    Ok(Some(Failure {
        class: class(name)?,
        code: code.unwrap_or_default(),
        message: message.unwrap_or_default(),
        retry_after_ms: retry_after_ms.map(count).transpose()?,
    }))
}
