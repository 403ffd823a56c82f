//! The description of the API, generated from the handlers.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{account, batches, dead_letters, documents, events, health, jobs, replay, schedules};

/// The OpenAPI document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "BUL",
        description = "Business events in, finished documents out. Every job ends as completed, cancelled or dead, and none is lost."
    ),
    paths(
        jobs::submit,
        jobs::list,
        jobs::show,
        jobs::cancel,
        batches::batch,
        batches::ingest,
        documents::document,
        events::watch,
        schedules::list,
        schedules::add,
        schedules::show,
        schedules::remove,
        schedules::pause,
        schedules::resume,
        schedules::run_now,
        schedules::next,
        dead_letters::list,
        dead_letters::show,
        dead_letters::edit,
        dead_letters::patch,
        dead_letters::purge_one,
        replay::replay_one,
        replay::replay,
        replay::purge,
        account::templates,
        account::template,
        account::usage,
        account::stats,
        account::audit,
        health::livez,
        health::readyz,
        health::startupz,
        health::report,
        openapi_json,
        metrics_text
    ),
    security(("key" = [])),
    modifiers(&Key)
)]
struct Description;

struct Key;

impl Modify for Key {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let text = "An API key: bul_<id>_<secret>, made by `bul key create`.";
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(text)).build();
        openapi.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "health", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
#[expect(dead_code, reason = "describes a route whose handler takes no documented arguments")]
fn openapi_json() {}

/// Metrics in the text format of Prometheus, where they are served on this listener.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "health", security(()),
    responses((status = 200, description = "metrics", body = String, content_type = "text/plain")))]
#[expect(dead_code, reason = "describes a route whose handler takes no documented arguments")]
fn metrics_text() {}
