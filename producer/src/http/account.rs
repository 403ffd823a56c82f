//! What a tenant may know about itself: templates, usage, counts, audit.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use bul_broker::Depth;
use bul_job::{Counts, Lane, TenantId, Timestamp};
use bul_store::{AuditLine, UsageLine};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use super::jobs::Page;
use super::params::{Params, Segment, page_size, time};
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Operator, Reader};

/// Reported span of usage when none is given.
const USAGE_DAYS_DEFAULT: i64 = 30;

/// The templates of this installation.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/templates", operation_id = "list_templates", tag = "templates",
    responses(shapes::Errors, (status = 200, description = "all templates", body = shapes::TemplatePage))))]
pub(crate) async fn templates(Reader(_caller): Reader, State(state): State<AppState>) -> Json<Page<Value>> {
    Json(Page { items: state.inner.templates.list(), next_cursor: None })
}

/// One template with the JSON Schema of its data.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/templates/{name}", operation_id = "show_template", tag = "templates", params(("name" = String, Path)),
    responses(shapes::Errors, (status = 200, description = "the template", body = shapes::Template))))]
pub(crate) async fn template(
    Reader(_caller): Reader,
    State(state): State<AppState>,
    Segment(name): Segment,
) -> Result<Json<Value>, Problem> {
    state.inner.templates.show(&name).map(Json).ok_or_else(|| Problem::not_found("template not found"))
}

/// Span of the report.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct UsageParams {
    /// Date or time; 30 days ago if not given.
    since: Option<String>,
}

/// Usage since a time.
#[derive(Debug, Serialize)]
pub(crate) struct UsageReport {
    since: Timestamp,
    total: UsageTotal,
    lines: Vec<UsageLine>,
}

#[derive(Debug, Default, Serialize)]
struct UsageTotal {
    jobs: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    total_ms: f64,
    host_tokens: u64,
    disk_tokens: u64,
    remote_tokens: u64,
    attached: u64,
    preemptions: u64,
    recomputed_tokens: u64,
}

/// Jobs, tokens and time by template and business area.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/usage", operation_id = "usage", tag = "account", params(UsageParams),
    responses(shapes::Errors, (status = 200, description = "usage", body = shapes::UsageReport))))]
pub(crate) async fn usage(
    Reader(caller): Reader,
    State(state): State<AppState>,
    Params(params): Params<UsageParams>,
) -> Result<Json<UsageReport>, Problem> {
    let since = match params.since.as_deref() {
        Some(text) => time("since", text)?,
        None => state.inner.store.now() - TimeDelta::days(USAGE_DAYS_DEFAULT),
    };
    let lines = state.inner.store.usage(&caller.tenant, since).await?;
    let mut total = UsageTotal::default();
    for line in &lines {
        total.jobs += line.jobs;
        total.prompt_tokens += line.prompt_tokens;
        total.cached_tokens += line.cached_tokens;
        total.output_tokens += line.output_tokens;
        total.total_ms += line.total_ms;
        total.host_tokens += line.host_tokens;
        total.disk_tokens += line.disk_tokens;
        total.remote_tokens += line.remote_tokens;
        total.attached += line.attached;
        total.preemptions += line.preemptions;
        total.recomputed_tokens += line.recomputed_tokens;
    }
    Ok(Json(UsageReport { since, total, lines }))
}

/// Where the jobs are.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    tenant: TenantId,
    jobs: Counts,
    /// Whether accepted jobs and states add up.
    balances: bool,
    /// Messages of all tenants in the broker, by lane; absent while it is not reachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    lanes: Option<BTreeMap<&'static str, Depth>>,
}

/// Jobs of the tenant by state, and what waits in the lanes.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/stats", operation_id = "stats", tag = "account",
    responses(shapes::Errors, (status = 200, description = "counts", body = shapes::Stats))))]
pub(crate) async fn stats(
    Reader(caller): Reader,
    State(state): State<AppState>,
) -> Result<Json<Stats>, Problem> {
    let ledger = state.inner.store.ledger().await?;
    let jobs = ledger.tenants.get(&caller.tenant).copied().unwrap_or_default();
    let depths = state.inner.broker.depths().await;
    let lanes = match depths {
        Ok(depths) => Some(Lane::ALL.map(Lane::as_str).into_iter().zip(depths).collect()),
        Err(error) => {
            warn!(%error, "no depths from the broker");
            None
        }
    };
    Ok(Json(Stats { tenant: caller.tenant, balances: jobs.balances(), jobs, lanes }))
}

/// How much of the audit.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct AuditParams {
    /// Lines, 1 to 500; 50 if not given.
    limit: Option<usize>,
}

/// Who did what to dead letters, newest first.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/audit", operation_id = "audit", tag = "account", params(AuditParams),
    responses(shapes::Errors, (status = 200, description = "lines", body = shapes::AuditPage))))]
pub(crate) async fn audit(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<AuditLine>>, Problem> {
    let items = state.inner.store.audit(&caller.tenant, page_size(params.limit)?).await?;
    Ok(Json(Page { items, next_cursor: None }))
}
