//! Metrics of the HTTP side, and the route that shows all of them.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bul_broker::Broker;
use bul_store::Store;
use bul_telemetry::{counter, gauge, names, seconds};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Registry, TextEncoder};

use super::health;
use super::problem::Problem;

pub(crate) struct HttpMetrics {
    pub(crate) requests: IntCounterVec,
    pub(crate) seconds: HistogramVec,
    pub(crate) streams: IntGaugeVec,
}

impl HttpMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            requests: counter(registry, names::HTTP_REQUESTS, &["route", "method", "status"]),
            seconds: seconds(registry, names::HTTP_SECONDS, &["route"]),
            streams: gauge(registry, names::EVENT_STREAMS, &[]),
        }
    }
}

/// `/metrics` in the text format of Prometheus, `/livez` and `/readyz`, for a listener of its own.
pub fn metrics_router(registry: Registry, store: Arc<dyn Store>, broker: Arc<dyn Broker>) -> Router {
    let ready = move || {
        let (store, broker) = (store.clone(), broker.clone());
        async move { health::of_parts(store.as_ref(), broker.as_ref()).await }
    };
    Router::new()
        .route("/metrics", get(move || async move { render(&registry) }))
        .route("/livez", get(health::livez))
        .route("/readyz", get(ready))
}

pub(crate) fn render(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => Problem::internal(&error.to_string()).into_response(),
    }
}
