//! Between columns and types: ids, names, counters and the row of a job.
//!
//! A value that does not parse means that something else has written to the tables:
//! [`bul_store::StoreError::Corrupt`], never a panic and never a guess.

use std::borrow::Cow;

use bul_job::{
    AttemptNo, DeadReason, Failure, FailureClass, Format, JobCore, JobId, Lane, Parked, PublishNo, State,
    TenantId, Timestamp, ValidJob,
};
use bul_store::{JobStatus, StoreError};
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::fault::{Fault, corrupt};

pub(crate) fn uuid(id: JobId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// Any of the UUID ids.
pub(crate) fn id<T: std::str::FromStr>(uuid: Uuid) -> Result<T, Fault> {
    let mut text = Uuid::encode_buffer();
    uuid.hyphenated().encode_lower(&mut text).parse().map_err(|_| corrupt("an id does not parse"))
}

/// The time that the first 48 bits of an id tell, in milliseconds since 1970. Ids of version 7 say the
/// truth; the order of ids by these bits is the order of the index, whatever they say.
pub(crate) fn id_millis(uuid: Uuid) -> i64 {
    (uuid.as_u128() >> 80) as i64
}

/// The smallest id of a time.
pub(crate) fn first_id(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.timestamp_millis().clamp(0, (1 << 48) - 1)).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

/// Text as the server takes it: all of Unicode but the character 0.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

pub(crate) fn tenant(name: &str) -> Result<TenantId, Fault> {
    name.parse().map_err(|_| corrupt("a tenant has an impossible name"))
}

pub(crate) fn state(name: &str) -> Result<State, Fault> {
    State::parse(name).ok_or_else(|| corrupt(format!("unknown state {name:?}")))
}

pub(crate) fn lane(index: i16) -> Result<Lane, Fault> {
    usize::try_from(index)
        .ok()
        .and_then(Lane::from_index)
        .ok_or_else(|| corrupt(format!("unknown lane {index}")))
}

pub(crate) fn lane_column(lane: Lane) -> i16 {
    lane.index() as i16
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

/// A counter out of its column.
pub(crate) fn count<T: TryFrom<i64>>(value: i64) -> Result<T, Fault> {
    T::try_from(value).map_err(|_| corrupt(format!("number {value} is out of range")))
}

/// A counter as a `bigint`; one beyond its range stays at its end.
pub(crate) fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A counter as an `integer`; one beyond its range stays at its end.
pub(crate) fn narrow(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// "Not a number" is a bad measurement, and its sum would be one, too.
pub(crate) fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

pub(crate) fn json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| corrupt(format!("{what} does not parse: {error}")))
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// A job to show. One that a newer version has written is shown without what it asks for, since a list must not
/// fail because of one of its lines.
pub(crate) fn readable(text: Option<&str>) -> Option<ValidJob> {
    body(text).ok().flatten()
}

pub(crate) fn body(text: Option<&str>) -> Result<Option<ValidJob>, Fault> {
    text.map(|text| json(text, "a job")).transpose()
}

/// The part of a job that a transition needs.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: Uuid,
    pub(crate) tenant: TenantId,
    pub(crate) lane: Lane,
    pub(crate) core: JobCore,
    pub(crate) accepted_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) worker: Option<String>,
    pub(crate) dead_reason: Option<DeadReason>,
    /// Code and message of the last failure.
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) purged: bool,
}

impl Job {
    /// The row of a job that was just inserted.
    pub(crate) fn accepted(
        id: Uuid,
        tenant: TenantId,
        lane: Lane,
        core: JobCore,
        accepted_at: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant,
            lane,
            core,
            accepted_at,
            started_at: None,
            ended_at: None,
            worker: None,
            dead_reason: None,
            code: None,
            message: None,
            purged: false,
        }
    }

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

/// The columns of `load_jobs.sql` and its like, by position: names would be looked up for every row.
impl TryFrom<&PgRow> for Job {
    type Error = Fault;

    fn try_from(row: &PgRow) -> Result<Self, Fault> {
        let number = |place: usize| -> Result<u32, Fault> { count(row.try_get::<i32, _>(place)?.into()) };
        let reason: Option<&str> = row.try_get(16)?;
        let why: Option<&str> = row.try_get(20)?;
        Ok(Self {
            id: row.try_get(0)?,
            tenant: tenant(row.try_get(1)?)?,
            lane: lane(row.try_get(2)?)?,
            accepted_at: row.try_get(3)?,
            core: JobCore {
                state: state(row.try_get(4)?)?,
                attempt: AttemptNo(number(5)?),
                publish: PublishNo(number(6)?),
                failures: number(7)?,
                crashes: number(8)?,
                max_attempts: number(9)?,
                due_at: row.try_get(10)?,
                cancel_requested: row.try_get(11)?,
                deadline: row.try_get(12)?,
                parked: why.map(parked).transpose()?,
            },
            started_at: row.try_get(13)?,
            ended_at: row.try_get(14)?,
            worker: row.try_get(15)?,
            dead_reason: reason.map(dead_reason).transpose()?,
            code: row.try_get(17)?,
            message: row.try_get(18)?,
            purged: row.try_get(19)?,
        })
    }
}

/// Place of the body in `load_bodies.sql`, behind the columns of a [`Job`].
pub(crate) const BODY: usize = 21;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_the_order_of_their_time() {
        let at = Timestamp::from_timestamp_millis(1_800_000_000_123).unwrap();
        assert_eq!(id_millis(first_id(at)), at.timestamp_millis());
        let job = JobId::new();
        assert_eq!(id::<JobId>(uuid(job)).unwrap(), job);
        assert!(first_id(Timestamp::from_timestamp_millis(id_millis(uuid(job))).unwrap()) <= uuid(job));
    }

    #[test]
    fn the_character_nought_is_replaced() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        assert_eq!(text("añ"), "añ");
    }
}
