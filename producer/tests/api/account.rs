//! Templates, usage, counts, health, and the description itself.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::App;

#[tokio::test]
async fn templates_are_shown() {
    let app = App::new().await;
    let list = app.get("/v1/templates").await.ok(200).shaped("TemplatePage");
    assert_eq!(list["items"][0]["name"], "invoice");
    app.get("/v1/templates/invoice").await.ok(200).shaped("Template");
    app.get("/v1/templates/nonsense").await.problem(404, "not_found");
}

#[tokio::test]
async fn usage_and_counts_add_up() {
    let app = App::new().await;
    let id = app.submitted().await;
    app.complete(id, "Done").await;
    app.dead().await;
    app.submitted().await;
    let usage = app.get("/v1/usage").await.ok(200).shaped("UsageReport");
    assert_eq!((&usage["total"]["jobs"], &usage["total"]["prompt_tokens"]), (&json!(1), &json!(7)));
    assert_eq!(app.get("/v1/usage?since=2999-01-01").await.json()["total"]["jobs"], 0);
    app.get("/v1/usage?since=soon").await.problem(400, "bad_parameter");

    let stats = app.get("/v1/stats").await.ok(200).shaped("Stats");
    let jobs = &stats["jobs"];
    assert_eq!(
        (&jobs["accepted"], &jobs["completed"], &jobs["dead"], &jobs["queued"]),
        (&json!(3), &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(stats["balances"], true);
    assert!(stats["lanes"]["normal"]["ready"].is_u64());
    let other = app.call("GET", "/v1/stats", &app.keys.stranger).await.json();
    assert_eq!(other["jobs"]["accepted"], 0);
}

#[tokio::test]
async fn health_needs_no_key_and_tells_what_is_down() {
    let app = App::new().await;
    let open = async |path: &str| app.send(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(open("/livez").await.ok(200).text(), "ok");
    for path in ["/readyz", "/startupz", "/health"] {
        let health = open(path).await;
        assert_eq!(health.ok(200).shaped("Health")["status"], "ok");
    }
    let metrics = open("/metrics").await;
    assert!(
        metrics
            .ok(200)
            .text()
            .contains("bul_http_requests_total{method=\"GET\",route=\"/readyz\",status=\"200\"} 1")
    );

    let down = App::new().await;
    down.store.close().await;
    let health = down.send(Request::get("/readyz").body(Body::empty()).unwrap()).await;
    assert_eq!(health.ok(503).shaped("Health")["store"], "unavailable");
    let livez = down.send(Request::get("/livez").body(Body::empty()).unwrap()).await;
    livez.ok(200);
    let away = App::new().await;
    away.broker.close().await;
    let health = away.send(Request::get("/readyz").body(Body::empty()).unwrap()).await;
    assert_eq!(health.ok(200).shaped("Health")["broker"], "unavailable");
}

/// Each path of the description answers to each of its methods, and the router has no others: what
/// has no description has no route, since all routes are asked for in the other tests.
#[tokio::test]
async fn the_description_and_the_router_agree() {
    let app = App::new().await;
    let served = app.get("/openapi.json").await.ok(200).json();
    let generated = serde_json::to_value(bul_producer::openapi()).unwrap();
    if served != generated {
        let new = std::env::temp_dir().join("openapi.json");
        std::fs::write(&new, format!("{generated:#}\n")).unwrap();
        panic!("schemas/openapi.json is not what the handlers say; {} is: put it there", new.display());
    }
    let paths = served["paths"].as_object().unwrap();
    let source = include_str!("../../src/http/mod.rs");
    let routed: BTreeSet<&str> =
        source.split('"').filter(|text| text.starts_with('/') && !text.contains(' ')).collect();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(routed, described);

    for (path, item) in paths {
        let real = path
            .replace("{id}", "0")
            .replace("{name}", "x")
            .replace("{format}", "md")
            .replace("{source}", "x");
        let answer =
            app.send(Request::builder().method("TRACE").uri(&real).body(Body::empty()).unwrap()).await;
        answer.problem(405, "method_not_allowed");
        let allowed: BTreeSet<String> =
            answer.header("allow").split(',').filter(|m| *m != "HEAD").map(str::to_ascii_lowercase).collect();
        let methods = ["get", "post", "put", "patch", "delete"];
        let described: BTreeSet<String> =
            methods.into_iter().filter(|m| item.get(*m).is_some()).map(str::to_owned).collect();
        assert_eq!(allowed, described, "{path}");
    }
}

#[test]
fn every_error_and_shape_of_the_description_resolves() {
    let document = serde_json::to_value(bul_producer::openapi()).unwrap();
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is missing");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: id taken");
            if path.starts_with("/v1/") {
                assert!(operation["responses"]["401"].is_object(), "{method} {path} lists no errors");
            }
        }
    }
}
