//! The HTTP API: routes of the contract, what surrounds them, and the listener.
//!
//! A request passes, from the outside in: id, log and metrics → unread body thrown away → limits on
//! number and time → panics → route → key and permission → handler. Handlers hold no rules of
//! their own: jobs enter by [`crate::submit`], dead letters are worked on by `bul-dlq-replayer`.

mod account;
mod batches;
mod body;
mod dead_letters;
mod documents;
mod events;
mod explain;
mod guard;
mod health;
mod jobs;
mod metrics;
#[cfg(feature = "openapi")]
mod openapi;
mod options;
mod params;
mod problem;
mod replay;
mod schedules;
mod serve;
#[cfg(feature = "openapi")]
mod shapes;
mod stall;
mod state;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub use explain::explanation;
pub use metrics::metrics_router;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use options::ProducerOptions;
pub use problem::Problem;
pub use serve::{serve, serve_router};
pub use state::{AppState, Operator, Reader, Submitter};

/// The description of the API, as the feature `openapi` generates it.
const OPENAPI: &str = include_str!("../../../schemas/openapi.json");

/// All routes. [`serve`] runs them; tests call them without a listener.
pub fn router(state: AppState) -> Router {
    let mut routes = Router::new().merge(job_routes()).merge(operator_routes()).merge(public_routes());
    if state.inner.options.serve_metrics {
        routes = routes.route("/metrics", get(show_metrics));
    }
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(from_fn_with_state(state.clone(), guard::limit))
        .layer(from_fn_with_state(state.clone(), body::drain))
        .layer(from_fn_with_state(state.clone(), guard::observe))
        .with_state(state)
}

fn job_routes() -> Router<AppState> {
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/v1/jobs/batch", post(batches::batch))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::cancel))
        .route("/v1/jobs/{id}/documents/{format}", get(documents::document))
        .route("/v1/jobs/{id}/events", get(events::watch))
        .route("/v1/ingest/{source}", post(batches::ingest))
        .route("/v1/templates", get(account::templates))
        .route("/v1/templates/{name}", get(account::template))
        .route("/v1/usage", get(account::usage))
        .route("/v1/stats", get(account::stats))
}

fn operator_routes() -> Router<AppState> {
    Router::new()
        .route("/v1/schedules", get(schedules::list).post(schedules::add))
        .route("/v1/schedules/{name}", get(schedules::show).delete(schedules::remove))
        .route("/v1/schedules/{name}/pause", post(schedules::pause))
        .route("/v1/schedules/{name}/resume", post(schedules::resume))
        .route("/v1/schedules/{name}/run-now", post(schedules::run_now))
        .route("/v1/schedules/{name}/next", get(schedules::next))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/replay", post(replay::replay))
        .route("/v1/dead-letters/purge", post(replay::purge))
        .route(
            "/v1/dead-letters/{id}",
            get(dead_letters::show)
                .put(dead_letters::edit)
                .patch(dead_letters::patch)
                .delete(dead_letters::purge_one),
        )
        .route("/v1/dead-letters/{id}/replay", post(replay::replay_one))
        .route("/v1/audit", get(account::audit))
}

fn public_routes() -> Router<AppState> {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/startupz", get(health::startupz))
        .route("/health", get(health::report))
        .route("/openapi.json", get(show_openapi))
}

async fn show_openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn show_metrics(State(state): State<AppState>) -> Response {
    metrics::render(&state.inner.registry)
}

async fn not_found() -> Problem {
    Problem::not_found("no such path; /openapi.json lists all there are")
}

async fn method_not_allowed() -> Problem {
    let detail = "this path does not take this method; the Allow header lists those it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
