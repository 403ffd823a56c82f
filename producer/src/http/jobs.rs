//! `/v1/jobs`: submit one, list, look, cancel.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bul_job::{JobId, RawJob, State as JobState};
use bul_store::{JobDetail, JobFilter, JobStatus, JobSummary, Place};
use serde::{Deserialize, Serialize};

use super::body;
use super::explain::explanation;
use super::params::{Id, Params, cursor, page_size, read_cursor};
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Reader, Submitter};
use crate::ingest::{self, Hints, IngestLimits, Source};
use crate::submit::{BATCH_JOBS_MAX, Outcome, SubmitAnswer, SubmitMode};

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STATES: &str = "waiting, queued, running, completed, cancelled or dead";

/// Answer to a submission.
#[derive(Debug, Serialize)]
pub(crate) struct Submitted {
    id: JobId,
    state: JobState,
    /// Whether the job was there already.
    existing: bool,
    /// Where to look at it.
    location: String,
}

/// A job with its explanation.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    #[serde(flatten)]
    detail: JobDetail,
    explanation: String,
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Give it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// Filter of the list.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct ListParams {
    /// Only jobs in these states, separated by commas.
    state: Option<String>,
    /// Only jobs of this template.
    template: Option<String>,
    /// Jobs per page, 1 to 500; 50 if not given.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Submits one job: job JSON or one CloudEvent. 202 means that it is stored and will be done.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/jobs", operation_id = "submit_job", tag = "jobs",
    params(("Idempotency-Key" = Option<String>, Header, description = "same key, same job: a repeated request makes no second one")),
    request_body(content((shapes::Job = "application/json"), (shapes::Json = "application/cloudevents+json"))),
    responses(shapes::Errors,
        (status = 202, description = "accepted", body = shapes::Submitted, headers(("Location" = String, description = "path of the job"))),
        (status = 200, description = "existed already", body = shapes::Submitted),
        (status = 409, description = "`idempotency_conflict`: the key belongs to a job of other content", body = shapes::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_job`: each wrong field is named", body = shapes::Problem, content_type = "application/problem+json"))))]
pub(crate) async fn submit(
    Submitter(caller): Submitter,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let media_type = body::expect_type(&headers, &["application/json", "application/cloudevents+json"])?;
    let options = &state.inner.options;
    let bytes = body::read(&headers, body, options.job_body_bytes_max, "job_body_bytes_max", options).await?;
    body::expect_object(&bytes)?;
    let mut raw =
        if media_type == "application/json" { RawJob::from_json(&bytes)? } else { one_event(&bytes)? };
    set_key(&mut raw, idempotency_key(&headers)?)?;
    let jobs = vec![(raw, String::new())];
    let answers = state.inner.intake.submit(&caller.tenant, jobs, "http", SubmitMode::AllOrNothing).await?;
    match answers.into_iter().next() {
        Some(answer) => single(answer),
        None => Err(Problem::internal("no answer for a submitted job")),
    }
}

fn one_event(bytes: &[u8]) -> Result<RawJob, Problem> {
    let limits = IngestLimits { items_max: 1, ..IngestLimits::default() };
    let items = ingest::parse(Source::CloudEvents, bytes, &Hints::default(), &limits)?;
    items.into_iter().next().map(|item| item.job).ok_or_else(|| Problem::internal("an event without a job"))
}

/// Header and field say the same or one of them is silent.
fn set_key(raw: &mut RawJob, key: Option<String>) -> Result<(), Problem> {
    match (&raw.idempotency_key, key) {
        (_, None) => {}
        (Some(field), Some(header)) if *field != header => {
            return Err(Problem::field("/idempotency_key", "differs from the Idempotency-Key header"));
        }
        (_, Some(header)) => raw.idempotency_key = Some(header),
    }
    Ok(())
}

/// The key of the header; quotes of a structured field are taken off.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let bad =
        || Problem::bad_request("bad_header", "Idempotency-Key must be 1 to 200 printable ASCII characters");
    let text = value.to_str().map_err(|_| bad())?.trim();
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    if (1..=200).contains(&text.len()) { Ok(Some(text.to_owned())) } else { Err(bad()) }
}

pub(crate) fn single(answer: SubmitAnswer) -> Result<Response, Problem> {
    let (status, id, state, existing) = match answer.outcome {
        Outcome::New { id, state } => (StatusCode::ACCEPTED, id, state, false),
        Outcome::Existing { id, state } => (StatusCode::OK, id, state, true),
        Outcome::Conflict { id } => {
            let detail = format!("the idempotency key belongs to job {id}, which has other content");
            return Err(Problem::new(StatusCode::CONFLICT, "idempotency_conflict", detail));
        }
        Outcome::Invalid { errors } => return Err(Problem::invalid(errors)),
    };
    let location = location(id);
    let header_value = HeaderValue::try_from(&location).map_err(|e| Problem::internal(&e.to_string()))?;
    let body = Json(Submitted { id, state, existing, location });
    Ok((status, [(header::LOCATION, header_value)], body).into_response())
}

pub(crate) fn location(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}

/// The jobs of the tenant, newest first.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", params(ListParams),
    responses(shapes::Errors, (status = 200, description = "a page", body = shapes::JobPage))))]
pub(crate) async fn list(
    Reader(caller): Reader,
    State(state): State<AppState>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<JobSummary>>, Problem> {
    let filter = JobFilter {
        states: states(params.state.as_deref())?,
        template: params.template,
        before: params.cursor.as_deref().map(read_cursor).transpose()?,
        limit: page_size(params.limit)?,
    };
    let items = state.inner.store.jobs(&caller.tenant, &filter).await?;
    let full = items.len() == filter.limit;
    let next_cursor = items.last().filter(|_| full).map(|job| cursor(job.id));
    Ok(Json(Page { items, next_cursor }))
}

fn states(text: Option<&str>) -> Result<Vec<JobState>, Problem> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let parse = |name: &str| {
        JobState::parse(name.trim()).ok_or_else(|| {
            let detail = format!("state: {:?} is none, expected {STATES}", body::cut(name));
            Problem::bad_request("bad_parameter", detail)
        })
    };
    text.split(',').take(JobState::ALL.len() + 1).map(parse).collect()
}

/// One job: state, attempts, documents, cost, and why it is where it is.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/jobs/{id}", operation_id = "show_job", tag = "jobs", params(("id" = uuid::Uuid, Path)),
    responses(shapes::Errors, (status = 200, description = "the job", body = shapes::JobDetail))))]
pub(crate) async fn show(
    Reader(caller): Reader,
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<Json<Detail>, Problem> {
    let detail = state.inner.store.job(&caller.tenant, id).await?;
    let stands = matches!(detail.summary.status.state, JobState::Queued | JobState::Waiting);
    let store = &state.inner.store;
    let (place, breakers) = match stands {
        true => (store.place(id).await?, store.open_breakers().await?),
        false => (Place::default(), Vec::new()),
    };
    let explanation = explanation(&detail, &place, &breakers, store.now());
    Ok(Json(Detail { detail, explanation }))
}

/// Cancels a job. One that runs is asked to end: 202 until it has; 200 when it ended at once.
#[cfg_attr(feature = "openapi", utoipa::path(delete, path = "/v1/jobs/{id}", operation_id = "cancel_job", tag = "jobs", params(("id" = uuid::Uuid, Path)),
    responses(shapes::Errors,
        (status = 200, description = "cancelled", body = shapes::JobStatus),
        (status = 202, description = "asked to end", body = shapes::JobStatus),
        (status = 409, description = "`not_possible_now`: it has ended", body = shapes::Problem, content_type = "application/problem+json"))))]
pub(crate) async fn cancel(
    Submitter(caller): Submitter,
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<(StatusCode, Json<JobStatus>), Problem> {
    let status = state.inner.store.cancel(&caller.tenant, id).await?;
    let code = if status.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    if status.state.is_final() {
        let kind =
            bul_job::EventKind::State { state: status.state, attempt: status.attempt.0, message: None };
        let event = bul_job::Event { tenant: caller.tenant, job: id, at: state.inner.store.now(), kind };
        // Watchers that miss it read the store.
        if let Err(error) = state.inner.broker.publish_event(event).await {
            tracing::debug!(%error, "event not sent");
        }
    }
    Ok((code, Json(status)))
}

/// Limits of what may come in one body by HTTP: one transaction.
pub(crate) fn ingest_limits(state: &AppState) -> IngestLimits {
    IngestLimits {
        body_bytes_max: state.inner.options.batch_body_bytes_max,
        items_max: BATCH_JOBS_MAX,
        ..IngestLimits::default()
    }
}
