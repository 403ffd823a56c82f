//! `/v1/dead-letters`: what failed for good, until somebody repairs, replays or erases it. Replays, and what works
//! on many at once, are in [`super::replay`].

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bul_dlq_replayer::{Edit, EditReport, FilterError, parse_filter};
use bul_job::{JobId, RawJob};
use bul_store::{DeadFilter, DeadLetter};
use serde::{Deserialize, Serialize};

use super::body;
use super::params::{Id, Params, cursor, page_size, read_cursor};
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Operator, Reader};
use crate::auth::Caller;

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

/// A filter as an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conditions {
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
    pub(crate) fn filter(self) -> Result<Option<DeadFilter>, FilterError> {
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

/// Whether an edit is made or only shown.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct EditParams {
    /// Check the edit and answer with the difference, but change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Puts a job in the place of the dead one; answers with the difference. It stays dead until replayed.
#[cfg_attr(feature = "openapi", utoipa::path(put, path = "/v1/dead-letters/{id}", operation_id = "edit_dead_letter", tag = "dead letters", params(("id" = uuid::Uuid, Path), EditParams),
    request_body = shapes::Job,
    responses(shapes::Errors, (status = 200, description = "edited, or with `dry_run` what would be", body = shapes::EditReport))))]
pub(crate) async fn edit(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Id(id): Id,
    Params(params): Params<EditParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EditReport>, Problem> {
    body::expect_type(&headers, &["application/json"])?;
    let options = &state.inner.options;
    let bytes = body::read(&headers, body, options.job_body_bytes_max, "job_body_bytes_max", options).await?;
    body::expect_object(&bytes)?;
    let edit = Edit::Whole(Box::new(RawJob::from_json(&bytes)?));
    make(&state, &caller, id, edit, &params).await
}

/// Changes single fields by a JSON merge patch (RFC 7396); answers with the difference.
#[cfg_attr(feature = "openapi", utoipa::path(patch, path = "/v1/dead-letters/{id}", operation_id = "patch_dead_letter", tag = "dead letters", params(("id" = uuid::Uuid, Path), EditParams),
    request_body(content = shapes::Json, content_type = "application/merge-patch+json"),
    responses(shapes::Errors, (status = 200, description = "edited, or with `dry_run` what would be", body = shapes::EditReport))))]
pub(crate) async fn patch(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Id(id): Id,
    Params(params): Params<EditParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EditReport>, Problem> {
    body::expect_type(&headers, &["application/merge-patch+json", "application/json"])?;
    let options = &state.inner.options;
    let bytes = body::read(&headers, body, options.job_body_bytes_max, "job_body_bytes_max", options).await?;
    let edit = Edit::Patch(body::from_json(&bytes)?);
    make(&state, &caller, id, edit, &params).await
}

async fn make(
    state: &AppState,
    caller: &Caller,
    id: JobId,
    edit: Edit,
    params: &EditParams,
) -> Result<Json<EditReport>, Problem> {
    let (replayer, tenant) = (&state.inner.replayer, &caller.tenant);
    let report = match params.dry_run {
        true => replayer.preview(tenant, id, edit).await?,
        false => replayer.edit(tenant, id, edit, &caller.name).await?,
    };
    Ok(Json(report))
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
