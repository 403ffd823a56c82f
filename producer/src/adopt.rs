//! Jobs that other programs publish straight onto the broker: read, checked and accepted like any other, or kept as
//! dead letters with their bytes.
//!
//! Invariant: when [`Intake::adopt`] returns `Ok`, the store holds what the message was, and it may be acknowledged;
//! on `Err` nothing is decided and the message must come again. A message that comes twice makes one job, by its
//! idempotency key, its CloudEvents id, or the name its publisher gave it. Called by the worker that received it.

use bul_broker::Foreign;
use bul_job::{JobId, PriorityInput, RawJob, TenantId};
use bul_store::{StoreError, UnreadableMessage};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeSeed;
use tracing::warn;

use crate::ingest::{self, Hints, IngestLimits, JOB_SUBMITTED, Source};
use crate::submit::{Intake, Outcome, SubmitError, SubmitMode};

/// Nesting of a MessagePack body; the same as serde_json allows.
const DEPTH_MAX: usize = 128;
/// Characters of a subject in the record of where a job came from.
const SUBJECT_CHARS_MAX: usize = 120;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopted {
    /// Its jobs are accepted, or were so before.
    Jobs(Vec<JobId>),
    /// It cannot be a job; this is its dead letter.
    DeadLetter(JobId),
    /// A newer version of this program can read it, for this reason this one cannot; nothing was decided.
    LeftToNewer(String),
}

impl Intake {
    /// Takes over a message of another program. What only a newer version of this one can read is left to it,
    /// unless this is its `last_try`: then it is kept like everything else that cannot be read.
    ///
    /// # Errors
    /// Those of the store: nothing was decided.
    pub fn adopt<'a>(
        &'a self,
        foreign: &'a Foreign,
        last_try: bool,
    ) -> BoxFuture<'a, Result<Adopted, StoreError>> {
        async move {
            let subject: String = foreign.subject.chars().take(SUBJECT_CHARS_MAX).collect();
            let source = format!("broker:{subject}");
            let Some(tenant) = &foreign.tenant else {
                let reason = format!("the subject {subject:?} names no tenant; expected …<lane>.<tenant>");
                return self.keep(TenantId::default_tenant(), foreign, reason, source).await;
            };
            let jobs = match read(foreign) {
                Ok(jobs) => jobs,
                Err(reason) if !last_try && is_newer(foreign) => return Ok(Adopted::LeftToNewer(reason)),
                Err(reason) => return self.keep(tenant.clone(), foreign, reason, source).await,
            };
            let reason = match self.submit(tenant, jobs, &source, SubmitMode::AllOrNothing).await {
                Ok(answers) => match ids(answers.into_iter().map(|answer| answer.outcome)) {
                    Ok(ids) => return Ok(Adopted::Jobs(ids)),
                    Err(reason) => reason,
                },
                Err(SubmitError::Store(error)) => return Err(error),
                Err(SubmitError::Internal(error)) => return Err(StoreError::Unavailable(error)),
                Err(error @ (SubmitError::Empty | SubmitError::TooMany { .. } | SubmitError::Invalid(_))) => {
                    error.to_string()
                }
            };
            self.keep(tenant.clone(), foreign, reason, source).await
        }
        .boxed()
    }

    /// Nothing unreadable is dropped.
    async fn keep(
        &self,
        tenant: TenantId,
        foreign: &Foreign,
        reason: String,
        source: String,
    ) -> Result<Adopted, StoreError> {
        warn!(%tenant, source, reason, "a message is no job and becomes a dead letter");
        let (raw, message_id) = (foreign.body.to_vec(), foreign.message_id.clone());
        let message = UnreadableMessage { tenant, raw, message_id, reason, source };
        self.store().accept_unreadable(&message).await.map(Adopted::DeadLetter)
    }
}

/// Ids of the jobs, or why one of them is not there.
fn ids(outcomes: impl Iterator<Item = Outcome>) -> Result<Vec<JobId>, String> {
    outcomes
        .map(|outcome| match outcome {
            Outcome::New { id, .. } | Outcome::Existing { id, .. } => Ok(id),
            Outcome::Conflict { id } => {
                Err(format!("its idempotency key belongs to job {id}, which has another content"))
            }
            Outcome::Invalid { errors } => {
                Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
        })
        .collect()
}

/// The jobs in a message, with their places.
fn read(foreign: &Foreign) -> Result<Vec<(RawJob, String)>, String> {
    if let Some(reason) = &foreign.broken {
        return Err(reason.clone());
    }
    let unpacked;
    let (body, media_type) = if is_msgpack(foreign) {
        unpacked = unpack(&foreign.body)?;
        (unpacked.as_slice(), None)
    } else {
        (foreign.body.as_ref(), foreign.content_type.as_deref())
    };
    let hints = Hints::default();
    let source = Source::detect(body, None, media_type, &hints).map_err(|e| e.to_string())?;
    let items = ingest::parse(source, body, &hints, &IngestLimits::default()).map_err(|e| e.to_string())?;
    let many = items.len() > 1;
    let job = |(at, item): (usize, ingest::Item)| {
        let mut job = item.job;
        job.priority.get_or_insert_with(|| PriorityInput::Name(foreign.lane.as_str().into()));
        if let (None, Some(id)) = (&job.idempotency_key, &foreign.message_id) {
            job.idempotency_key = Some(if many { format!("msg:{id}:{at}") } else { format!("msg:{id}") });
        }
        (job, item.place)
    };
    Ok(items.into_iter().enumerate().map(job).collect())
}

/// Whether it is what a newer version of this program publishes: by its mark, or by the version in the type of a
/// CloudEvent. Within a version nothing changes but by fields that older ones may ignore.
fn is_newer(foreign: &Foreign) -> bool {
    #[derive(serde::Deserialize)]
    struct Envelope {
        r#type: String,
    }
    if foreign.newer {
        return true;
    }
    let unpacked = is_msgpack(foreign).then(|| unpack(&foreign.body).ok()).flatten();
    let body = unpacked.as_deref().unwrap_or(&foreign.body);
    let envelope: Result<Envelope, _> = serde_json::from_slice(body);
    let (family, known) = JOB_SUBMITTED.split_at(JOB_SUBMITTED.len() - 1);
    envelope.is_ok_and(|envelope| match envelope.r#type.strip_prefix(family).map(str::parse::<u32>) {
        Some(Ok(version)) => known.parse::<u32>().is_ok_and(|known| version > known),
        Some(Err(_)) | None => false,
    })
}

/// By its media type; where none is given, by the first byte, which no JSON text begins with.
fn is_msgpack(foreign: &Foreign) -> bool {
    match &foreign.content_type {
        Some(kind) => kind.to_ascii_lowercase().contains("msgpack"),
        None => matches!(foreign.body.first(), Some(0x80..=0x9f | 0xdc..=0xdf)),
    }
}

/// MessagePack as JSON, so that one reader with its limits serves both.
fn unpack(body: &[u8]) -> Result<Vec<u8>, String> {
    let bytes_max = IngestLimits::default().body_bytes_max;
    if body.len() > bytes_max {
        return Err(format!("the body has {} bytes, at most {bytes_max} are allowed", body.len()));
    }
    let wrong = |e: &dyn std::fmt::Display| format!("not MessagePack: {e}");
    let mut rest = body;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    reader.set_max_depth(DEPTH_MAX);
    let value: serde_json::Value =
        std::marker::PhantomData::<serde_json::Value>.deserialize(&mut reader).map_err(|e| wrong(&e))?;
    if !rest.is_empty() {
        return Err(format!("{} bytes follow behind the MessagePack value", rest.len()));
    }
    serde_json::to_vec(&value).map_err(|e| wrong(&e))
}

#[cfg(test)]
mod tests {
    use bul_job::Lane;

    use super::*;

    fn foreign(body: &[u8], content_type: Option<&str>) -> Foreign {
        Foreign {
            subject: "bul.jobs.high.acme".into(),
            tenant: Some("acme".parse().unwrap()),
            lane: Lane::High,
            content_type: content_type.map(Into::into),
            message_id: Some("m-1".into()),
            traceparent: None,
            broken: None,
            newer: false,
            body: body.to_vec().into(),
        }
    }

    fn packed(value: &serde_json::Value) -> Vec<u8> {
        rmp_serde::to_vec_named(value).unwrap()
    }

    #[test]
    fn every_envelope_gives_the_same_job() {
        let job = serde_json::json!({"query": "Plan for returns", "formats": ["md"]});
        let event = serde_json::json!({"specversion": "1.0", "id": "7", "source": "/erp",
            "type": "dev.bul.job.submitted.v1", "data": job});
        for (body, kind) in [
            (job.to_string().into_bytes(), None),
            (job.to_string().into_bytes(), Some("application/json")),
            (packed(&job), Some("application/msgpack")),
            (packed(&job), None),
            (event.to_string().into_bytes(), Some("application/cloudevents+json")),
            (packed(&event), Some("application/x-msgpack")),
        ] {
            let jobs = read(&foreign(&body, kind)).unwrap();
            assert_eq!(jobs.len(), 1);
            assert_eq!(jobs[0].0.query.as_deref(), Some("Plan for returns"));
            assert_eq!(jobs[0].0.priority, Some(PriorityInput::Name("high".into())));
            assert!(jobs[0].0.idempotency_key.is_some());
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let deep = [vec![0x91; 400], vec![0xc0]].concat();
        for (body, kind, part) in [
            (&b"{\"query\": 7}"[..], None, "query"),
            (b"{", None, "EOF"),
            (b"\x81\xa5query", None, "not MessagePack"),
            (b"\xc0\xc0", Some("application/msgpack"), "follow"),
            (&deep, None, "not MessagePack"),
            (b"\xff\xfe\x00{", Some("application/json"), ""),
            (b"", None, "empty"),
        ] {
            let reason = read(&foreign(body, kind)).unwrap_err();
            assert!(reason.contains(part), "{body:?}: {reason}");
        }
        let broken = Foreign { broken: Some("a mark".into()), ..foreign(b"{}", None) };
        assert_eq!(read(&broken).unwrap_err(), "a mark");
    }

    #[test]
    fn what_a_newer_version_publishes_is_told_from_what_nobody_can_read() {
        let event = |kind: &str| {
            let event = serde_json::json!({"specversion": "1.0", "id": "7", "source": "/erp", "type": kind,
                "data": {"query": "x"}});
            foreign(event.to_string().as_bytes(), Some("application/cloudevents+json"))
        };
        for (message, expected) in [
            (event("dev.bul.job.submitted.v2"), true),
            (event("dev.bul.job.submitted.v13"), true),
            (event("dev.bul.job.submitted.v1"), false),
            (event("dev.bul.job.submitted.v0"), false),
            (event("dev.bul.job.submitted.vx"), false),
            (event("com.example.order.v2"), false),
            (foreign(&packed(&serde_json::json!({"type": "dev.bul.job.submitted.v2"})), None), true),
            (foreign(b"{\"query\": 7}", None), false),
            (Foreign { broken: Some("a mark".into()), ..foreign(b"{}", None) }, false),
            (Foreign { broken: Some("form 2".into()), newer: true, ..foreign(b"\xff", None) }, true),
        ] {
            assert_eq!(is_newer(&message), expected, "{message:?}");
        }
        assert!(read(&event("dev.bul.job.submitted.v2")).unwrap_err().contains("submitted.v2"));
    }
}
