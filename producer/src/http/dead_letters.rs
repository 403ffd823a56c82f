//! `/v1/dead-letters`: what failed for good, until somebody repairs, replays or erases it.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bul_dlq_replayer::{
    Edit, EditReport, FilterError, Pace, PurgeReport, Rate, ReplayOptions, ReplayReport, Selection,
    parse_filter,
};
use bul_job::{FieldError, JobId, RawJob};
use bul_store::{DeadFilter, DeadLetter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body;
use super::params::{Id, Params, cursor, page_size, read_cursor};
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Operator, Reader};

/// Ids in one request.
const IDS_MAX: usize = 1_000;

/// Filter of the list. Either `filter`, or single conditions.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct ListParams {
    /// An expression such as `reason=permanent,template=invoice`.
    filter: Option<String>,
    /// `permanent`, `attempts_spent`, `poison`, `deadline_passed` or `unreadable`.
    reason: Option<String>,
    /// Code of the last failure.
    code: Option<String>,
    /// Template.
    template: Option<String>,
    /// Died at or after this date or time.
    since: Option<String>,
    /// Entries per page, 1 to 500; 50 if not given.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of dead letters.
#[derive(Debug, Serialize)]
pub(crate) struct DeadPage {
    items: Vec<DeadLetter>,
    /// How many match in all.
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which dead letters to work on: `ids` or `filter`, one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choice {
    ids: Option<Vec<String>>,
    filter: Option<Value>,
    rate: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    ignore_breakers: bool,
}

/// A filter as an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conditions {
    reason: Option<String>,
    code: Option<String>,
    template: Option<String>,
    since: Option<String>,
}

/// The dead letters of the tenant, oldest first.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/dead-letters", operation_id = "list_dead_letters", tag = "dead letters", params(ListParams),
    responses(shapes::Errors, (status = 200, description = "a page", body = shapes::DeadPage))))]
pub(crate) async fn list(
    Reader(caller): Reader,
    State(state): State<AppState>,
    Params(params): Params<ListParams>,
) -> Result<Json<DeadPage>, Problem> {
    let conditions = Conditions {
        reason: params.reason,
        code: params.code,
        template: params.template,
        since: params.since,
    };
    let single = conditions.filter().map_err(bad_parameter)?;
    let mut filter = match (params.filter, single) {
        (None, single) => single.unwrap_or_default(),
        (Some(text), None) => parse_filter(&text).map_err(bad_parameter)?,
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("bad_parameter", "give either filter or single conditions"));
        }
    };
    let replayer = &state.inner.replayer;
    let total = replayer.count(&caller.tenant, &filter).await?;
    filter.after = params.cursor.as_deref().map(read_cursor).transpose()?;
    filter.limit = page_size(params.limit)?;
    let items = replayer.list(&caller.tenant, &filter).await?;
    let full = items.len() == filter.limit;
    let next_cursor = items.last().filter(|_| full).map(|letter| cursor(letter.id));
    Ok(Json(DeadPage { items, total, next_cursor }))
}

impl Conditions {
    /// `None` without any condition. Reason and time go through the expression language, so that there
    /// is one parser.
    fn filter(self) -> Result<Option<DeadFilter>, FilterError> {
        let mut filter = DeadFilter::default();
        if let Some(reason) = &self.reason {
            filter.reason = parse_filter(&single("reason", reason)?)?.reason;
        }
        if let Some(since) = &self.since {
            filter.since = parse_filter(&single("since", since)?)?.since;
        }
        filter.code = self.code;
        filter.template = self.template;
        let any = filter.reason.is_some()
            || filter.since.is_some()
            || filter.code.is_some()
            || filter.template.is_some();
        Ok(any.then_some(filter))
    }
}

/// One condition as an expression; a comma in the value must not add another.
fn single(key: &'static str, value: &str) -> Result<String, FilterError> {
    if value.contains(',') {
        return Err(FilterError::Value { key, message: "takes one value".into() });
    }
    Ok(format!("{key}={value}"))
}

fn bad_parameter(error: FilterError) -> Problem {
    Problem::bad_request("bad_parameter", error.to_string())
}

/// One dead letter: job, reason, last failure; what could not be read as text.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/dead-letters/{id}", operation_id = "show_dead_letter", tag = "dead letters", params(("id" = uuid::Uuid, Path)),
    responses(shapes::Errors, (status = 200, description = "the dead letter", body = shapes::DeadLetter))))]
pub(crate) async fn show(
    Reader(caller): Reader,
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<Json<DeadLetter>, Problem> {
    Ok(Json(state.inner.replayer.show(&caller.tenant, id).await?))
}

/// Puts a job in the place of the dead one; answers with the difference. It stays dead until replayed.
#[cfg_attr(feature = "openapi", utoipa::path(put, path = "/v1/dead-letters/{id}", operation_id = "edit_dead_letter", tag = "dead letters", params(("id" = uuid::Uuid, Path)),
    request_body = shapes::Job,
    responses(shapes::Errors, (status = 200, description = "edited", body = shapes::EditReport))))]
pub(crate) async fn edit(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EditReport>, Problem> {
    body::expect_type(&headers, &["application/json"])?;
    let options = &state.inner.options;
    let bytes = body::read(&headers, body, options.job_body_bytes_max, "job_body_bytes_max", options).await?;
    body::expect_object(&bytes)?;
    let edit = Edit::Whole(Box::new(RawJob::from_json(&bytes)?));
    Ok(Json(state.inner.replayer.edit(&caller.tenant, id, edit, &caller.name).await?))
}

/// Changes single fields by a JSON merge patch (RFC 7396); answers with the difference.
#[cfg_attr(feature = "openapi", utoipa::path(patch, path = "/v1/dead-letters/{id}", operation_id = "patch_dead_letter", tag = "dead letters", params(("id" = uuid::Uuid, Path)),
    request_body(content = shapes::Json, content_type = "application/merge-patch+json"),
    responses(shapes::Errors, (status = 200, description = "edited", body = shapes::EditReport))))]
pub(crate) async fn patch(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EditReport>, Problem> {
    body::expect_type(&headers, &["application/merge-patch+json", "application/json"])?;
    let options = &state.inner.options;
    let bytes = body::read(&headers, body, options.job_body_bytes_max, "job_body_bytes_max", options).await?;
    let edit = Edit::Patch(body::from_json(&bytes)?);
    Ok(Json(state.inner.replayer.edit(&caller.tenant, id, edit, &caller.name).await?))
}

/// Runs one dead letter again, under its id.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/dead-letters/{id}/replay", operation_id = "replay_dead_letter", tag = "dead letters", params(("id" = uuid::Uuid, Path)),
    responses(shapes::Errors,
        (status = 202, description = "it waits for its next run", body = shapes::ReplayReport),
        (status = 409, description = "`not_possible_now`: it is not dead any more", body = shapes::Problem, content_type = "application/problem+json"))))]
pub(crate) async fn replay_one(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<(StatusCode, Json<ReplayReport>), Problem> {
    state.inner.store.replay(&caller.tenant, id, None, &caller.name).await?;
    let report = ReplayReport { matched: 1, replayed: 1, ids: vec![id], ..ReplayReport::default() };
    Ok((StatusCode::ACCEPTED, Json(report)))
}

/// Runs many again, at a rate if wanted: each then gets its own time to run.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/dead-letters/replay", operation_id = "replay_dead_letters", tag = "dead letters", request_body = shapes::ReplayRequest,
    responses(shapes::Errors, (status = 202, description = "what was done", body = shapes::ReplayReport))))]
pub(crate) async fn replay(
    Operator(caller): Operator,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ReplayReport>), Problem> {
    let choice: Choice = body::json(&headers, body, &state.inner.options).await?;
    let rate = choice.rate.as_deref().map(str::parse::<Rate>).transpose()?;
    let (pace, dry_run, ignore_breakers) = (Pace::Spread, choice.dry_run, choice.ignore_breakers);
    let options = ReplayOptions { rate, pace, dry_run, ignore_breakers, ..ReplayOptions::default() };
    let selection = choice.selection()?;
    let replayer = &state.inner.replayer;
    let report = replayer.replay(&caller.tenant, &selection, &options, &caller.name, &mut |_| {}).await?;
    let status = if report.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(report)))
}

/// Erases many for good; `rate` is not possible here.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/dead-letters/purge", operation_id = "purge_dead_letters", tag = "dead letters", request_body = shapes::ReplayRequest,
    responses(shapes::Errors, (status = 200, description = "what was done", body = shapes::PurgeReport))))]
pub(crate) async fn purge(
    Operator(caller): Operator,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PurgeReport>, Problem> {
    let choice: Choice = body::json(&headers, body, &state.inner.options).await?;
    if choice.rate.is_some() {
        return Err(Problem::field("/rate", "a purge takes no rate"));
    }
    let dry_run = choice.dry_run;
    let selection = choice.selection()?;
    Ok(Json(state.inner.replayer.purge_many(&caller.tenant, &selection, dry_run, &caller.name).await?))
}

/// Erases the payload of one dead letter for good; the ledger still counts it.
#[cfg_attr(feature = "openapi", utoipa::path(delete, path = "/v1/dead-letters/{id}", operation_id = "purge_dead_letter", tag = "dead letters", params(("id" = uuid::Uuid, Path)),
    responses(shapes::Errors, (status = 204, description = "erased"))))]
pub(crate) async fn purge_one(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    state.inner.replayer.purge(&caller.tenant, id, &caller.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Choice {
    fn selection(self) -> Result<Selection, Problem> {
        match (self.ids, self.filter) {
            (Some(ids), None) => ids_of(&ids).map(Selection::Ids),
            (None, Some(Value::String(text))) => Ok(Selection::Filter(parse_filter(&text)?)),
            (None, Some(object)) => {
                let conditions: Conditions =
                    serde_json::from_value(object).map_err(|e| Problem::field("/filter", e.to_string()))?;
                let filter = conditions.filter()?;
                filter.map(Selection::Filter).ok_or_else(|| {
                    Problem::field("/filter", "holds no condition; write \"all\" to choose every dead letter")
                })
            }
            (None, None) => Err(Problem::field("", "give ids or a filter")),
            (Some(_), Some(_)) => Err(Problem::field("", "give either ids or a filter, not both")),
        }
    }
}

fn ids_of(texts: &[String]) -> Result<Vec<JobId>, Problem> {
    if texts.is_empty() || texts.len() > IDS_MAX {
        return Err(Problem::field("/ids", format!("must hold 1 to {IDS_MAX} ids")));
    }
    let mut ids = Vec::with_capacity(texts.len());
    let mut errors = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(id) => ids.push(id),
            Err(e) => errors.push(FieldError::new(format!("/ids/{index}"), format!("{e}"))),
        }
    }
    errors.truncate(100);
    if errors.is_empty() { Ok(ids) } else { Err(Problem::invalid(errors)) }
}
