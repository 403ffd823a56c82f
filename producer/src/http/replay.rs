//! Replays over HTTP, of one dead letter or many, and the purge of many.
//!
//! The rules are those of `bul-dlq-replayer`. A request does not last as long as a replay: it decides seconds in
//! advance and answers where and when the next request goes on, so that a breaker that opens meanwhile is met.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bul_dlq_replayer::{Pace, PurgeReport, Rate, ReplayOptions, ReplayReport, Selection, parse_filter};
use bul_job::{FieldError, JobId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::body;
use super::dead_letters::Conditions;
use super::params::{Id, cursor, read_cursor};
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Operator};

/// Ids in one request.
const IDS_MAX: usize = 1_000;

/// Which dead letters to work on: `ids` or `filter`, one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choice {
    ids: Option<Vec<String>>,
    filter: Option<Value>,
    rate: Option<String>,
    edit: Option<Map<String, Value>>,
    cursor: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default, alias = "force")]
    ignore_breakers: bool,
}

/// How to replay one; nothing of it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct How {
    edit: Option<Map<String, Value>>,
    dry_run: bool,
    #[serde(alias = "force")]
    ignore_breakers: bool,
}

/// What was done, and how to go on.
#[derive(Debug, Serialize)]
pub(crate) struct Replayed {
    #[serde(flatten)]
    report: ReplayReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    again_after_ms: Option<u64>,
}

impl From<ReplayReport> for Replayed {
    fn from(report: ReplayReport) -> Self {
        let rest = report.rest;
        // Rounded up: asked too early, the next call would begin within the pace of this one.
        let again_after_ms = rest.map(|rest| rest.wait.as_micros().div_ceil(1_000) as u64);
        let next_cursor = rest.and_then(|rest| rest.after).map(cursor);
        Self { report, next_cursor, again_after_ms }
    }
}

impl Replayed {
    fn answer(self) -> (StatusCode, Json<Self>) {
        let status = if self.report.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
        (status, Json(self))
    }
}

/// Runs one dead letter again, under its id, edited in the same step if wanted.
///
/// Refused while a circuit breaker is open, before anything has changed.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/dead-letters/{id}/replay", operation_id = "replay_dead_letter", tag = "dead letters", params(("id" = uuid::Uuid, Path)),
    request_body = Option<shapes::OneReplayRequest>,
    responses(shapes::Errors,
        (status = 200, description = "with `dry_run`: what would be done", body = shapes::ReplayReport),
        (status = 202, description = "it waits for its next run", body = shapes::ReplayReport),
        (status = 409, description = "`not_possible_now`: it is not dead any more", body = shapes::Problem, content_type = "application/problem+json"),
        (status = 503, description = "`breaker_open`: the dependency that `detail` names is down; try again, or set `ignore_breakers`. Else as everywhere: `overloaded`, `timeout`, `store_unavailable`, `store_failed`; with `Retry-After`", body = shapes::Problem, content_type = "application/problem+json"))))]
pub(crate) async fn replay_one(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Replayed>), Problem> {
    let how: How = body::json_or_default(&headers, body, &state.inner.options).await?;
    let How { edit, dry_run, ignore_breakers } = how;
    let patch = edit.map(Value::Object);
    let options = ReplayOptions { patch, dry_run, ignore_breakers, ..ReplayOptions::default() };
    let report = state.inner.replayer.replay_one(&caller.tenant, id, &options, &caller.name).await?;
    Ok(Replayed::from(report).answer())
}

/// Runs many again, under their ids, each edited in the same step if wanted.
///
/// At a rate each gets its own time to run, 10 s in advance: while the answer has `again_after_ms`, ask again that much
/// later, with its `next_cursor` (if any) as `cursor`. While a circuit breaker is open nothing more is replayed, and
/// `halted` names the dependency. With `ignore_breakers` all get their time to run at once.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/dead-letters/replay", operation_id = "replay_dead_letters", tag = "dead letters", request_body = shapes::ReplayRequest,
    responses(shapes::Errors,
        (status = 200, description = "with `dry_run`: what would be done", body = shapes::ReplayReport),
        (status = 202, description = "what was done", body = shapes::ReplayReport))))]
pub(crate) async fn replay(
    Operator(caller): Operator,
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Replayed>), Problem> {
    let mut choice: Choice = body::json(&headers, body, &state.inner.options).await?;
    let options = ReplayOptions {
        rate: choice.rate.as_deref().map(str::parse::<Rate>).transpose()?,
        pace: Pace::Spread,
        dry_run: choice.dry_run,
        ignore_breakers: choice.ignore_breakers,
        patch: choice.edit.take().map(Value::Object),
        after: choice.cursor.as_deref().map(read_cursor).transpose()?,
        ..ReplayOptions::default()
    };
    let selection = choice.selection()?;
    let replayer = &state.inner.replayer;
    let report = replayer.replay(&caller.tenant, &selection, &options, &caller.name, &mut |_| {}).await?;
    Ok(Replayed::from(report).answer())
}

/// Erases many for good.
#[cfg_attr(feature = "openapi", utoipa::path(post, path = "/v1/dead-letters/purge", operation_id = "purge_dead_letters", tag = "dead letters", request_body = shapes::PurgeRequest,
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
    if choice.edit.is_some() {
        return Err(Problem::field("/edit", "a purge takes no edit"));
    }
    if choice.cursor.is_some() {
        return Err(Problem::field("/cursor", "a purge takes no cursor"));
    }
    let dry_run = choice.dry_run;
    let selection = choice.selection()?;
    Ok(Json(state.inner.replayer.purge_many(&caller.tenant, &selection, dry_run, &caller.name).await?))
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
