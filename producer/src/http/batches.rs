//! Many jobs in one body: `/v1/jobs/batch` and `/v1/ingest/{source}`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bul_job::{FieldError, JobId, State as JobState};
use serde::{Deserialize, Serialize};

use super::body;
use super::jobs::{idempotency_key, ingest_limits, location};
use super::params::{Params, Segment};
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Submitter};
use crate::auth::Caller;
use crate::ingest::{self, Hints, Source};
use crate::submit::{Outcome, SubmitAnswer, SubmitMode};

const BATCH_TYPES: [&str; 6] = [
    "application/json",
    "application/x-ndjson",
    "application/jsonl",
    "application/ndjson",
    "application/cloudevents-batch+json",
    "application/cloudevents+json",
];

/// One answer of a batch.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// Where the job stood in the body.
    place: String,
    /// `new`, `existing`, `conflict` or `invalid`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<JobState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// Answers of a batch, in the order given.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answers {
    accepted: u64,
    existing: u64,
    conflicts: u64,
    invalid: u64,
    jobs: Vec<Line>,
}

/// How to treat a batch.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct BatchParams {
    /// `all` (the default): nothing is accepted when one job is wrong; `each`: the good ones are.
    mode: Option<String>,
}

/// What an ingested body does not say itself.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct IngestParams {
    /// Template of the jobs.
    template: Option<String>,
    /// Formats, separated by commas.
    formats: Option<String>,
    /// Priority of the jobs.
    priority: Option<String>,
    /// Language of the documents.
    language: Option<String>,
    /// Business area of the jobs.
    business_area: Option<String>,
    /// As for batches.
    mode: Option<String>,
}

/// Submits up to 1,000 jobs in one transaction: a JSON array, JSONL or a batch of CloudEvents.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/jobs/batch", operation_id = "submit_batch", tag = "jobs", params(BatchParams),
    request_body(content((Vec<shapes::Job> = "application/json"), (String = "application/x-ndjson"), (shapes::Json = "application/cloudevents-batch+json"))),
    responses(shapes::Errors,
        (status = 202, description = "accepted; each job has its own answer", body = shapes::BatchAnswer),
        (status = 422, description = "`invalid_job`: every wrong field of every job is named, nothing was accepted", body = shapes::Problem, content_type = "application/problem+json"))))]
pub(crate) async fn batch(
    Submitter(caller): Submitter,
    State(state): State<AppState>,
    Params(params): Params<BatchParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Answers>), Problem> {
    let source = match body::expect_type(&headers, &BATCH_TYPES)? {
        "application/json" => Source::Job,
        "application/cloudevents-batch+json" | "application/cloudevents+json" => Source::CloudEvents,
        _ => Source::Jsonl,
    };
    if idempotency_key(&headers)?.is_some() {
        let detail = "a batch takes no Idempotency-Key header; give each job its idempotency_key";
        return Err(Problem::bad_request("bad_header", detail));
    }
    let mode = mode(params.mode.as_deref())?;
    take(&state, &caller, source, Hints::default(), mode, &headers, body).await
}

/// Takes in what another system sends, in its own words.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/ingest/{source}", operation_id = "ingest", tag = "jobs",
    params(("source" = String, Path, description = "cloudevents, cdevents, github, gitlab, frappe, ubl, csv, jsonl or generic"), IngestParams),
    request_body(content((shapes::Json = "application/json"), (String = "application/xml"), (String = "text/csv"))),
    responses(shapes::Errors,
        (status = 202, description = "accepted; each job has its own answer", body = shapes::BatchAnswer),
        (status = 422, description = "`invalid_job` or `unsupported`", body = shapes::Problem, content_type = "application/problem+json"))))]
pub(crate) async fn ingest(
    Submitter(caller): Submitter,
    State(state): State<AppState>,
    Segment(source): Segment,
    Params(params): Params<IngestParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Answers>), Problem> {
    let Some(source) = Source::parse(&source) else {
        let known: Vec<&str> = Source::ALL.iter().map(|s| s.as_str()).collect();
        return Err(Problem::not_found(format!("no such source; there are {}", known.join(", "))));
    };
    let mode = mode(params.mode.as_deref())?;
    let hints = hints(params, &headers)?;
    take(&state, &caller, source, hints, mode, &headers, body).await
}

fn hints(params: IngestParams, headers: &HeaderMap) -> Result<Hints, Problem> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    Ok(Hints {
        github_event: text("x-github-event"),
        github_delivery: text("x-github-delivery"),
        gitlab_event: text("x-gitlab-event"),
        gitlab_delivery: text("x-gitlab-event-uuid"),
        ce_type: text("ce-type"),
        ce_id: text("ce-id"),
        ce_source: text("ce-source"),
        template: params.template,
        formats: params.formats.map(|list| list.split(',').map(|f| f.trim().to_owned()).collect()),
        priority: params.priority,
        language: params.language,
        business_area: params.business_area,
        idempotency_key: idempotency_key(headers)?,
        ..Hints::default()
    })
}

fn mode(text: Option<&str>) -> Result<SubmitMode, Problem> {
    match text {
        None | Some("all") => Ok(SubmitMode::AllOrNothing),
        Some("each") => Ok(SubmitMode::Each),
        Some(_) => Err(Problem::bad_request("bad_parameter", "mode must be all or each")),
    }
}

async fn take(
    state: &AppState,
    caller: &Caller,
    source: Source,
    hints: Hints,
    mode: SubmitMode,
    headers: &HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Answers>), Problem> {
    // Large bodies wait for their turn before they are read: their memory is bounded together.
    let _turn = state.inner.batches.acquire().await.map_err(|e| Problem::internal(&e.to_string()))?;
    let options = &state.inner.options;
    let bytes =
        body::read(headers, body, options.batch_body_bytes_max, "batch_body_bytes_max", options).await?;
    let limits = ingest_limits(state);
    let parsed = tokio::task::spawn_blocking(move || ingest::parse(source, &bytes, &hints, &limits)).await;
    let items = parsed.map_err(|e| Problem::internal(&e.to_string()))??;
    let jobs = items.into_iter().map(|item| (item.job, item.place)).collect();
    let origin = match source {
        Source::Job | Source::Jsonl => "http".to_owned(),
        other => format!("ingest:{other}"),
    };
    let answers = state.inner.intake.submit(&caller.tenant, jobs, &origin, mode).await?;
    let mut all = Answers::default();
    for answer in answers {
        all.push(answer);
    }
    Ok((StatusCode::ACCEPTED, Json(all)))
}

impl Answers {
    fn push(&mut self, answer: SubmitAnswer) {
        let (outcome, id, state, errors) = match answer.outcome {
            Outcome::New { id, state } => {
                self.accepted += 1;
                ("new", Some(id), Some(state), Vec::new())
            }
            Outcome::Existing { id, state } => {
                self.existing += 1;
                ("existing", Some(id), Some(state), Vec::new())
            }
            Outcome::Conflict { id } => {
                self.conflicts += 1;
                let message = "belongs to a job of other content";
                ("conflict", Some(id), None, vec![FieldError::new("/idempotency_key", message)])
            }
            Outcome::Invalid { errors } => {
                self.invalid += 1;
                ("invalid", None, None, errors)
            }
        };
        let location = id.map(location);
        self.jobs.push(Line { place: answer.place, outcome, id, state, location, errors });
    }
}
