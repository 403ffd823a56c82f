//! `/v1/schedules`: jobs that come back by the calendar. The scheduler fires them; here they are kept.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bul_job::{FieldError, MissedPolicy, RawJob, ScheduleId, ScheduleSpec, TenantId, Timestamp};
use bul_store::{Schedule, ScheduleChange};
use serde::{Deserialize, Serialize};

use super::body;
use super::jobs::{Page, single};
use super::params::{Params, Segment};
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Operator, Reader};
use crate::submit::{SubmitMode, check_one};

const NAME_CHARS_MAX: usize = 100;
const NEXT_DEFAULT: usize = 5;
const NEXT_MAX: usize = 100;

/// A schedule to add.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSchedule {
    name: String,
    cron: String,
    #[serde(default = "utc")]
    timezone: String,
    #[serde(default)]
    missed: MissedPolicy,
    job: RawJob,
}

fn utc() -> String {
    "UTC".into()
}

/// Coming fires.
#[derive(Debug, Serialize)]
pub(crate) struct Next {
    name: String,
    paused: bool,
    next: Vec<Timestamp>,
}

/// How many fires to tell.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct NextParams {
    /// 1 to 100; 5 if not given.
    count: Option<usize>,
}

/// The schedules of the tenant by name.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/schedules", operation_id = "list_schedules", tag = "schedules",
    responses(shapes::Errors, (status = 200, description = "all schedules", body = shapes::SchedulePage))))]
pub(crate) async fn list(
    Reader(caller): Reader,
    State(state): State<AppState>,
) -> Result<Json<Page<Schedule>>, Problem> {
    let items = state.inner.store.schedules(&caller.tenant).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// Adds a schedule. Its job is checked now, and again at each fire.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/schedules", operation_id = "add_schedule", tag = "schedules", request_body = shapes::NewSchedule,
    responses(shapes::Errors,
        (status = 201, description = "added", body = shapes::Schedule, headers(("Location" = String))),
        (status = 409, description = "`exists_already`: the name is taken", body = shapes::Problem, content_type = "application/problem+json"))))]
pub(crate) async fn add(
    Operator(caller): Operator,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let new: NewSchedule = body::json(&headers, body, &state.inner.options).await?;
    let name = checked_name(&new.name)?;
    let spec = ScheduleSpec::parse(&new.cron, &new.timezone)?;
    let now = state.inner.store.now();
    let next_at = Some(spec.first_after(now)?);
    check_job(&state, &new.job, now)?;
    let schedule = Schedule {
        id: ScheduleId::new(),
        tenant: caller.tenant,
        name,
        cron: new.cron,
        zone: new.timezone,
        missed: new.missed,
        job: new.job,
        paused: false,
        next_at,
        last_at: None,
    };
    state.inner.store.add_schedule(&schedule).await?;
    let location = format!("/v1/schedules/{}", schedule.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(schedule)).into_response())
}

/// A name is part of paths.
fn checked_name(name: &str) -> Result<String, Problem> {
    let ok = (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if ok {
        return Ok(name.to_owned());
    }
    let message = format!(
        "must be 1 to {NAME_CHARS_MAX} letters, digits, '-', '_' or '.', beginning with a letter or digit"
    );
    Err(Problem::field("/name", message))
}

/// The job as each fire will make it: what names one instant or one job cannot be meant for many.
fn check_job(state: &AppState, job: &RawJob, now: Timestamp) -> Result<(), Problem> {
    let given = [
        ("/run_at", job.run_at.is_some()),
        ("/deadline", job.deadline.is_some()),
        ("/idempotency_key", job.idempotency_key.is_some()),
    ];
    let message = "is not possible in a schedule: every fire makes a job of its own";
    let mut errors: Vec<FieldError> =
        given.into_iter().filter(|(_, given)| *given).map(|(at, _)| FieldError::new(at, message)).collect();
    let (limits, templates) = (state.inner.intake.limits(), state.inner.templates.as_ref());
    if errors.is_empty()
        && let Err(found) = check_one(job.clone(), now, limits, templates)
    {
        errors = found;
    }
    for error in &mut errors {
        error.pointer.insert_str(0, "/job");
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
}

async fn find(state: &AppState, tenant: &TenantId, name: &str) -> Result<Schedule, Problem> {
    let all = state.inner.store.schedules(tenant).await?;
    all.into_iter().find(|s| s.name == name).ok_or_else(|| Problem::not_found("schedule not found"))
}

/// One schedule.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/schedules/{name}", operation_id = "show_schedule", tag = "schedules", params(("name" = String, Path)),
    responses(shapes::Errors, (status = 200, description = "the schedule", body = shapes::Schedule))))]
pub(crate) async fn show(
    Reader(caller): Reader,
    State(state): State<AppState>,
    Segment(name): Segment,
) -> Result<Json<Schedule>, Problem> {
    Ok(Json(find(&state, &caller.tenant, &name).await?))
}

/// Removes a schedule; jobs it has made stay.
#[cfg_attr(feature = "openapi", utoipa::path(delete, path = "/v1/schedules/{name}", operation_id = "remove_schedule", tag = "schedules", params(("name" = String, Path)),
    responses(shapes::Errors, (status = 204, description = "removed"))))]
pub(crate) async fn remove(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    let schedule = find(&state, &caller.tenant, &name).await?;
    state.inner.store.remove_schedule(&caller.tenant, schedule.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops firing until it is resumed.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/schedules/{name}/pause", operation_id = "pause_schedule", tag = "schedules", params(("name" = String, Path)),
    responses(shapes::Errors, (status = 200, description = "paused", body = shapes::Schedule))))]
pub(crate) async fn pause(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Segment(name): Segment,
) -> Result<Json<Schedule>, Problem> {
    change(&state, &caller.tenant, &name, |_| Ok(ScheduleChange::Pause)).await
}

/// Fires again from now on; what was missed meanwhile is not made up for.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/schedules/{name}/resume", operation_id = "resume_schedule", tag = "schedules", params(("name" = String, Path)),
    responses(shapes::Errors, (status = 200, description = "resumed", body = shapes::Schedule))))]
pub(crate) async fn resume(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Segment(name): Segment,
) -> Result<Json<Schedule>, Problem> {
    let now = state.inner.store.now();
    let resume = move |schedule: &Schedule| {
        let spec = ScheduleSpec::parse(&schedule.cron, &schedule.zone)?;
        Ok(ScheduleChange::Resume { next_at: spec.next_after(now) })
    };
    change(&state, &caller.tenant, &name, resume).await
}

async fn change(
    state: &AppState,
    tenant: &TenantId,
    name: &str,
    decide: impl FnOnce(&Schedule) -> Result<ScheduleChange, Problem>,
) -> Result<Json<Schedule>, Problem> {
    let schedule = find(state, tenant, name).await?;
    let change = decide(&schedule)?;
    state.inner.store.set_schedule(tenant, schedule.id, change).await?;
    Ok(Json(find(state, tenant, name).await?))
}

/// Makes the job of the schedule now, beside its calendar.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/schedules/{name}/run-now", operation_id = "run_schedule_now", tag = "schedules", params(("name" = String, Path)),
    responses(shapes::Errors, (status = 202, description = "accepted", body = shapes::Submitted, headers(("Location" = String))))))]
pub(crate) async fn run_now(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Segment(name): Segment,
) -> Result<Response, Problem> {
    let schedule = find(&state, &caller.tenant, &name).await?;
    let source = format!("schedule:{}", schedule.name);
    let jobs = vec![(schedule.job, String::new())];
    let answers = state.inner.intake.submit(&caller.tenant, jobs, &source, SubmitMode::AllOrNothing).await?;
    answers.into_iter().next().map_or_else(|| Err(Problem::internal("no answer for a submitted job")), single)
}

/// When it will fire.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/schedules/{name}/next", operation_id = "next_fires", tag = "schedules", params(("name" = String, Path), NextParams),
    responses(shapes::Errors, (status = 200, description = "coming fires, also of a paused schedule", body = shapes::Next))))]
pub(crate) async fn next(
    Reader(caller): Reader,
    State(state): State<AppState>,
    Segment(name): Segment,
    Params(params): Params<NextParams>,
) -> Result<Json<Next>, Problem> {
    let count = params.count.unwrap_or(NEXT_DEFAULT);
    if !(1..=NEXT_MAX).contains(&count) {
        return Err(Problem::bad_request("bad_parameter", format!("count must be 1 to {NEXT_MAX}")));
    }
    let schedule = find(&state, &caller.tenant, &name).await?;
    let spec = ScheduleSpec::parse(&schedule.cron, &schedule.zone)?;
    let first = spec.next_after(state.inner.store.now());
    let next = std::iter::successors(first, |fire| spec.next_after(*fire)).take(count).collect();
    Ok(Json(Next { name: schedule.name, paused: schedule.paused, next }))
}
