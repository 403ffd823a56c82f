//! Operations by the HTTP API of a server.

use bul_dlq_replayer::EditReport;
use bul_job::{Event, FieldError, Format, JobId, RawJob, State, Timestamp};
use bul_store::{AuditLine, DeadFilter, DeadLetter, JobFilter, JobStatus, JobSummary, Schedule, UsageLine};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::call::{Call, Caller};
use super::problem::CallError;
use super::sse::{SseEvent, SseParser};
use super::types::{BulkReport, JobView, NewSchedule, Receipt, Selected, SubmitFailure};
use crate::context::Context;
use crate::exit::Fault;

/// Entries of a page; the most a server gives.
const PAGE: usize = 500;

/// A server.
pub struct HttpClient {
    pub(super) caller: Caller,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct UsageReport {
    lines: Vec<UsageLine>,
}

#[derive(Debug, Deserialize)]
struct Submitted {
    id: JobId,
    state: State,
    existing: bool,
}

#[derive(Debug, Deserialize)]
struct Answers {
    jobs: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    outcome: String,
    #[serde(default)]
    id: Option<JobId>,
    #[serde(default)]
    state: Option<State>,
    #[serde(default)]
    errors: Vec<FieldError>,
}

impl HttpClient {
    /// Reads address and key.
    pub fn new(context: &Context) -> anyhow::Result<Self> {
        Ok(Self { caller: Caller::new(context)? })
    }

    /// One job by itself, so that its key is the request's key too; several as a batch.
    pub async fn submit(&self, jobs: &[RawJob]) -> Result<Vec<Receipt>, SubmitFailure> {
        let [job] = jobs else { return self.submit_batch(jobs).await };
        let mut call = Call::post(&["v1", "jobs"], serde_json::to_value(job)?);
        if let Some(key) = job.idempotency_key.as_deref().filter(|key| fits_header(key)) {
            call = call.under_key(key);
        } else {
            call = call.repeatable();
        }
        match self.caller.json::<Submitted>(call).await {
            Ok(Submitted { id, state, existing }) => Ok(vec![Receipt::Accepted { id, state, existing }]),
            Err(CallError::Problem(problem, _)) if problem.status == 422 && !problem.fields().is_empty() => {
                let placed = |e: FieldError| FieldError::new(format!("/0{}", e.pointer), e.message);
                Err(SubmitFailure::Fields(problem.fields().into_iter().map(placed).collect()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn submit_batch(&self, jobs: &[RawJob]) -> Result<Vec<Receipt>, SubmitFailure> {
        // Every job carries a key: sending the batch again makes no second jobs.
        let call = Call::post(&["v1", "jobs", "batch"], serde_json::to_value(jobs)?).repeatable();
        let answers: Answers = match self.caller.json(call).await {
            Ok(answers) => answers,
            Err(CallError::Problem(problem, _)) if problem.status == 422 && !problem.fields().is_empty() => {
                return Err(SubmitFailure::Fields(problem.fields()));
            }
            Err(error) => return Err(error.into()),
        };
        let receipt = |answer: Answer| match (answer.id, answer.state) {
            (Some(id), Some(state)) => {
                Ok(Receipt::Accepted { id, state, existing: answer.outcome == "existing" })
            }
            (Some(id), None) => Ok(Receipt::Conflict { id }),
            (None, _) => {
                let errors: Vec<String> = answer.errors.iter().map(ToString::to_string).collect();
                Err(Fault::failed(format!("the server refused a job: {}", errors.join("; "))))
            }
        };
        Ok(answers.jobs.into_iter().map(receipt).collect::<Result<_, _>>()?)
    }

    pub async fn jobs(&self, filter: &JobFilter) -> anyhow::Result<Vec<JobSummary>> {
        let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
        let call = Call::get(&["v1", "jobs"])
            .with("state", (!states.is_empty()).then(|| states.join(",")))
            .with("template", filter.template.clone());
        self.pages(&call, filter.limit).await
    }

    pub async fn job(&self, id: JobId) -> anyhow::Result<JobView> {
        Ok(self.caller.json(Call::get(&["v1", "jobs", &id.to_string()])).await?)
    }

    pub async fn cancel(&self, id: JobId) -> anyhow::Result<JobStatus> {
        Ok(self.caller.json(Call::delete(&["v1", "jobs", &id.to_string()])).await?)
    }

    pub async fn document(&self, id: JobId, format: Format) -> anyhow::Result<Vec<u8>> {
        let call = Call::get(&["v1", "jobs", &id.to_string(), "documents", format.as_str()]);
        Ok(self.caller.bytes(call).await?)
    }

    pub async fn events(&self, id: JobId) -> anyhow::Result<BoxStream<'static, anyhow::Result<Event>>> {
        let call = Call::get(&["v1", "jobs", &id.to_string(), "events"]).streaming();
        let response = self.caller.send(call).await?;
        let mut parser = SseParser::default();
        let events = response.bytes_stream().map(move |chunk| {
            let events = parser.feed(&chunk?)?.into_iter().filter_map(|event| read_event(&event));
            Ok::<_, anyhow::Error>(futures::stream::iter(events.map(Ok::<Event, anyhow::Error>)))
        });
        Ok(events.try_flatten().boxed())
    }

    pub async fn schedules(&self) -> anyhow::Result<Vec<Schedule>> {
        self.pages(&Call::get(&["v1", "schedules"]), 0).await
    }

    pub async fn add_schedule(&self, new: &NewSchedule) -> anyhow::Result<Schedule> {
        let body = json!({"name": new.name, "cron": new.cron, "timezone": new.zone, "missed": new.missed, "job": new.job});
        Ok(self.caller.json(Call::post(&["v1", "schedules"], body)).await?)
    }

    pub async fn remove_schedule(&self, schedule: &Schedule) -> anyhow::Result<()> {
        self.caller.bytes(Call::delete(&["v1", "schedules", &schedule.name])).await?;
        Ok(())
    }

    pub async fn pause_schedule(&self, schedule: &Schedule, paused: bool) -> anyhow::Result<()> {
        let verb = if paused { "pause" } else { "resume" };
        // Pausing twice is pausing.
        let call = Call::post(&["v1", "schedules", &schedule.name, verb], json!({})).repeatable();
        self.caller.bytes(call).await?;
        Ok(())
    }

    pub async fn run_schedule(&self, schedule: &Schedule) -> anyhow::Result<Receipt> {
        let call = Call::post(&["v1", "schedules", &schedule.name, "run-now"], json!({}));
        let Submitted { id, state, existing } = self.caller.json(call).await?;
        Ok(Receipt::Accepted { id, state, existing })
    }

    pub async fn dead_letters(&self, filter: &DeadFilter) -> anyhow::Result<Vec<DeadLetter>> {
        let call = Call::get(&["v1", "dead-letters"])
            .with("reason", filter.reason.map(|reason| reason.as_str().to_owned()))
            .with("code", filter.code.clone())
            .with("template", filter.template.clone())
            .with("since", filter.since.map(|since| since.to_rfc3339()));
        let mut letters: Vec<DeadLetter> = self.pages(&call, filter.limit).await?;
        letters.retain(|letter| filter.ids.is_empty() || filter.ids.contains(&letter.id));
        Ok(letters)
    }

    pub async fn dead_letter(&self, id: JobId) -> anyhow::Result<DeadLetter> {
        Ok(self.caller.json(Call::get(&["v1", "dead-letters", &id.to_string()])).await?)
    }

    pub async fn preview_edit(&self, id: JobId, job: RawJob) -> anyhow::Result<EditReport> {
        let call = Call::put(&["v1", "dead-letters", &id.to_string()], serde_json::to_value(&job)?);
        Ok(self.caller.json(call.with("dry_run", Some("true".into()))).await?)
    }

    pub async fn edit_dead_letter(&self, id: JobId, job: RawJob) -> anyhow::Result<()> {
        let call = Call::put(&["v1", "dead-letters", &id.to_string()], serde_json::to_value(&job)?);
        self.caller.bytes(call).await?;
        Ok(())
    }

    pub async fn purge(&self, which: &Selected, dry_run: bool) -> anyhow::Result<BulkReport> {
        let call = Call::post(&["v1", "dead-letters", "purge"], choice(which, dry_run)).repeatable();
        Ok(self.caller.json(call).await?)
    }

    pub async fn audit(&self, limit: usize) -> anyhow::Result<Vec<AuditLine>> {
        self.pages(&Call::get(&["v1", "audit"]), limit).await
    }

    pub async fn usage(&self, since: Timestamp) -> anyhow::Result<Vec<UsageLine>> {
        let call = Call::get(&["v1", "usage"]).with("since", Some(since.to_rfc3339()));
        let report: UsageReport = self.caller.json(call).await?;
        Ok(report.lines)
    }

    /// Pages until there are enough; 0 for a list that has no pages.
    async fn pages<T: DeserializeOwned>(&self, call: &Call, limit: usize) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let size = (limit > 0).then(|| (limit - items.len()).min(PAGE).to_string());
            let page: Page<T> =
                self.caller.json(call.clone().with("limit", size).with("cursor", cursor)).await?;
            let empty = page.items.is_empty();
            items.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() || empty || (limit > 0 && items.len() >= limit) {
                return Ok(items);
            }
        }
    }
}

pub(super) fn choice(which: &Selected, dry_run: bool) -> Value {
    match which {
        Selected::Ids(ids) => json!({"ids": ids, "dry_run": dry_run}),
        Selected::Filter(filter) => json!({"filter": filter, "dry_run": dry_run}),
    }
}

/// Header values are printable ASCII; any other key stands in the job alone.
fn fits_header(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 200
        && key.trim() == key
        && !key.starts_with('"')
        && key.chars().all(|c| (' '..='~').contains(&c))
}

/// Events of a later version that this one does not know are skipped.
fn read_event(event: &SseEvent) -> Option<Event> {
    let mut data: Value = serde_json::from_str(&event.data).ok()?;
    // A server does not repeat the tenant, which the key has fixed.
    data.as_object_mut()?.entry("tenant").or_insert_with(|| json!("default"));
    serde_json::from_value(data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_server_are_read() {
        let data = r#"{"job":"0192f0c8-7b2e-7abc-8def-0123456789ab","at":"2026-11-16T10:00:00Z","event":"token","slot":"a","text":"x"}"#;
        let read = |data: &str| read_event(&SseEvent { name: "token".into(), data: data.into() });
        assert!(matches!(read(data).unwrap().kind, bul_job::EventKind::Token { .. }));
        assert!(read(&data.replace("\"token\"", "\"dance\"")).is_none());
        assert!(read("no json").is_none());
    }

    #[test]
    fn keys_that_are_no_header_stay_in_the_body() {
        assert!(fits_header("order-42") && fits_header("a b"));
        for bad in ["", " a", "ü", "\"a\"", "a\nb", &"x".repeat(201)] {
            assert!(!fits_header(bad), "{bad}");
        }
    }
}
