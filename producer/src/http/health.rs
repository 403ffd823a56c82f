//! Whether this process lives, has started and can work. No key is needed, and nothing about the
//! installation is told but up or down.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bul_broker::Broker;
use bul_store::Store;
use serde::Serialize;
use tracing::warn;

use super::state::AppState;

/// How long an answer is reused: whoever asks all the time must not load the store.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// How long one part may take to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Last known health.
#[derive(Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, Health)>>,
}

/// State of the parts.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    /// `ok`, `unavailable` or `stopping`.
    pub(crate) status: &'static str,
    /// `ok` or `unavailable`.
    pub(crate) store: &'static str,
    /// `ok` or `unavailable`; while it is, jobs are accepted and published later.
    pub(crate) broker: &'static str,
    /// Version of this program.
    pub(crate) version: &'static str,
}

/// The process answers.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/livez", operation_id = "livez", tag = "health", security(()), responses((status = 200, description = "alive"))))]
pub(crate) async fn livez() -> &'static str {
    "ok"
}

/// The store answers and the process is not stopping. A broker that is down does not make the
/// producer unready: what is accepted meanwhile is published later.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health", security(()),
    responses((status = 200, description = "ready", body = Health), (status = 503, description = "not ready", body = Health))))]
pub(crate) async fn readyz(State(state): State<AppState>) -> Response {
    answer(health(&state).await)
}

/// Like readyz; for platforms that ask separately.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/startupz", operation_id = "startupz", tag = "health", security(()),
    responses((status = 200, description = "started", body = Health), (status = 503, description = "not yet", body = Health))))]
pub(crate) async fn startupz(State(state): State<AppState>) -> Response {
    answer(health(&state).await)
}

/// State of each part.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/health", operation_id = "health", tag = "health", security(()),
    responses((status = 200, description = "works", body = Health), (status = 503, description = "does not", body = Health))))]
pub(crate) async fn report(State(state): State<AppState>) -> Response {
    answer(health(&state).await)
}

fn answer(health: Health) -> Response {
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

async fn health(state: &AppState) -> Health {
    let last = &state.inner.readiness.last;
    let known = *last.lock().unwrap_or_else(PoisonError::into_inner);
    let mut health = match known {
        Some((at, health)) if at.elapsed() < KEPT_FOR => health,
        _ => {
            let fresh = check(state).await;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), fresh));
            fresh
        }
    };
    if state.stopping.is_cancelled() {
        health.status = "stopping";
    }
    health
}

async fn check(state: &AppState) -> Health {
    look(state.inner.store.as_ref(), state.inner.broker.as_ref()).await
}

/// Health of a process without the API, such as a worker.
pub(crate) async fn of_parts(store: &dyn Store, broker: &dyn Broker) -> Response {
    answer(look(store, broker).await)
}

async fn look(store: &dyn Store, broker: &dyn Broker) -> Health {
    let store = async { store.check().await.map_err(|e| e.to_string()) };
    let broker = async { broker.check().await.map_err(|e| e.to_string()) };
    let (store, broker) = tokio::join!(part("store", store), part("broker", broker));
    Health { status: store, store, broker, version: env!("CARGO_PKG_VERSION") }
}

async fn part(name: &str, check: impl Future<Output = Result<(), String>>) -> &'static str {
    let result = tokio::time::timeout(CHECK_TIMEOUT, check).await;
    match result.unwrap_or_else(|_| Err("no answer in time".into())) {
        Ok(()) => "ok",
        Err(reason) => {
            warn!(part = name, reason, "health check failed");
            "unavailable"
        }
    }
}
