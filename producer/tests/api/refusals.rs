//! What is refused, with which status, code and place.

use axum::body::Body;
use axum::http::Request;
use bul_producer::ProducerOptions;
use serde_json::{Value, json};

use crate::support::{App, invoice, pointers, request};

#[tokio::test]
async fn wrong_jobs_are_refused_by_place() {
    let app = App::new().await;
    let check = async |body: Value, expected: &[&str]| {
        let problem = app.json("POST", "/v1/jobs", &body).await.problem(422, "invalid_job");
        assert_eq!(pointers(&problem), expected, "{body}");
    };
    check(json!({}), &["/template"]).await;
    check(json!({"query": "x", "colour": 1}), &["/colour"]).await;
    check(json!({"query": 7}), &["/query"]).await;
    check(json!({"query": "x", "params": {"top_p": "a"}}), &["/params/top_p"]).await;
    check(json!({"template": "nonsense"}), &["/template"]).await;
    check(json!({"template": "invoice", "data": {}}), &["/data/number"]).await;
    check(json!({"query": "a\u{0}b"}), &["/query", "/template"]).await;
    check(
        json!({"query": "x", "formats": ["pdf", "doc"], "priority": "urgent"}),
        &["/formats/1", "/priority"],
    )
    .await;
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!({ "a": deep });
    }
    let problem =
        app.json("POST", "/v1/jobs", &json!({"query": "x", "data": deep})).await.problem(422, "invalid_job");
    assert!(problem["detail"].as_str().unwrap().contains("nested deeper"), "{problem}");
    for path in ["/v1/jobs", "/v1/schedules", "/v1/dead-letters/replay"] {
        let problem = app.json("POST", path, &json!(["document.generate", "invoice"])).await;
        assert_eq!(pointers(&problem.problem(422, "invalid_field")), [""], "{path}");
    }
    assert_eq!(app.get("/v1/jobs").await.json()["items"], json!([]));
}

#[tokio::test]
async fn malformed_json_is_told_by_line_and_column() {
    let app = App::new().await;
    let check = async |body: &[u8]| {
        let answer = app.body("POST", "/v1/jobs", "application/json", body.to_vec()).await;
        let problem = answer.problem(400, "malformed_json");
        problem["detail"].as_str().unwrap().to_owned()
    };
    assert!(check(b"{\"query\": \n  oops}").await.contains("line 2 column"));
    check(b"").await;
    check(b"{\"query\": \"\xff\"}").await;
    check(format!("{{\"data\": {{\"a\": {}", "[".repeat(100_000)).as_bytes()).await;
    check(b"{\"query\": \"x\"} trailing").await;
    for path in ["/v1/schedules", "/v1/dead-letters/replay"] {
        app.body("POST", path, "application/json", "{").await.problem(400, "malformed_json");
    }
}

#[tokio::test]
async fn media_types_and_encodings() {
    let app = App::new().await;
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"] {
        let answer = app.body("POST", "/v1/jobs", media_type, invoice().to_string()).await;
        let problem = answer.problem(415, "unsupported_media_type");
        assert!(problem["detail"].as_str().unwrap().contains("application/json"), "{problem}");
    }
    let ok = app.body("POST", "/v1/jobs", "Application/JSON;charset=utf-8", invoice().to_string()).await;
    ok.ok(202);
    let compressed = request("POST", "/v1/jobs", &app.keys.submit)
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    app.send(compressed.body(Body::from("x")).unwrap()).await.problem(415, "unsupported_encoding");
}

#[tokio::test]
async fn bodies_are_limited() {
    let options =
        ProducerOptions { job_body_bytes_max: 1_000, batch_body_bytes_max: 2_000, ..Default::default() };
    let app = App::with(options).await;
    let mut large = invoice();
    large["context"] = json!("x".repeat(1_000));
    let problem = app.json("POST", "/v1/jobs", &large).await.problem(413, "body_too_large");
    assert!(problem["detail"].as_str().unwrap().contains("job_body_bytes_max"), "{problem}");
    app.json("POST", "/v1/jobs/batch", &json!([large])).await.ok(202);
    let problem =
        app.json("POST", "/v1/jobs/batch", &json!([large, large])).await.problem(413, "body_too_large");
    assert!(problem["detail"].as_str().unwrap().contains("batch_body_bytes_max"), "{problem}");
    // Without a Content-Length the limit holds all the same.
    let chunks = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let answer = app.body("POST", "/v1/jobs", "application/json", Body::from_stream(chunks)).await;
    answer.problem(413, "body_too_large");
}

#[tokio::test]
async fn keys_decide_who_may_do_what() {
    let app = App::new().await;
    let bare = Request::builder().uri("/v1/jobs").body(Body::empty()).unwrap();
    let answer = app.send(bare).await;
    answer.problem(401, "key_missing");
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"bul\"");
    let basic = Request::builder().uri("/v1/jobs").header("authorization", "Basic eDp5");
    app.send(basic.body(Body::empty()).unwrap()).await.problem(401, "key_missing");
    let made_up = format!("bul_0123456789ab_{}", "A".repeat(43));
    for key in ["", "nonsense", "bul_x", made_up.as_str(), &"x".repeat(10_000)] {
        let answer = app.call("GET", "/v1/jobs", key).await;
        answer.problem(401, "key_invalid");
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
    // A key in the URL is none.
    let in_url =
        Request::builder().uri(format!("/v1/jobs?key={}", app.keys.read)).body(Body::empty()).unwrap();
    app.send(in_url).await.problem(401, "key_missing");

    let check = async |method: &str, path: &str, key: &str| {
        let answer = app.call(method, path, key).await;
        answer.problem(403, "permission_missing");
        assert!(answer.header("www-authenticate").contains("insufficient_scope"));
    };
    let id = app.submitted().await;
    check("POST", "/v1/jobs", &app.keys.read).await;
    check("DELETE", &format!("/v1/jobs/{id}"), &app.keys.read).await;
    check("POST", "/v1/ingest/generic", &app.keys.read).await;
    for (method, path) in [
        ("POST", "/v1/schedules".to_owned()),
        ("DELETE", "/v1/schedules/x".into()),
        ("POST", "/v1/dead-letters/replay".into()),
        ("POST", "/v1/dead-letters/purge".into()),
        ("PUT", format!("/v1/dead-letters/{id}")),
        ("DELETE", format!("/v1/dead-letters/{id}")),
        ("GET", "/v1/audit".into()),
    ] {
        check(method, &path, &app.keys.submit).await;
    }
}

#[tokio::test]
async fn a_revoked_key_is_none() {
    let app = App::new().await;
    let keys = app.store.keys().await.unwrap();
    let id = &keys.iter().find(|k| k.name == "reader").unwrap().id;
    app.store.revoke_key(id).await.unwrap();
    app.call("GET", "/v1/jobs", &app.keys.read).await.problem(401, "key_invalid");
}

#[tokio::test]
async fn other_tenants_do_not_exist() {
    let app = App::new().await;
    let id = app.submitted().await;
    app.complete(id, "Secret").await;
    let dead = app.dead().await;
    for (method, path) in [
        ("GET", format!("/v1/jobs/{id}")),
        ("DELETE", format!("/v1/jobs/{id}")),
        ("GET", format!("/v1/jobs/{id}/documents/md")),
        ("GET", format!("/v1/jobs/{id}/events")),
        ("GET", format!("/v1/dead-letters/{dead}")),
        ("DELETE", format!("/v1/dead-letters/{dead}")),
        ("POST", format!("/v1/dead-letters/{dead}/replay")),
    ] {
        app.call(method, &path, &app.keys.stranger).await.problem(404, "not_found");
    }
    app.call("GET", &format!("/v1/jobs/{id}"), &app.keys.read).await.ok(200);
}

#[tokio::test]
async fn paths_methods_and_parameters() {
    let app = App::new().await;
    app.get("/v1/nothing").await.problem(404, "not_found");
    app.get("/v1/jobs/7").await.problem(404, "not_found");
    app.get("/v1/jobs/%ff").await.problem(404, "not_found");
    app.get(&format!("/v1/jobs/{}", bul_job::JobId::new())).await.problem(404, "not_found");
    let answer = app.call("PUT", "/v1/jobs", &app.keys.operate).await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    app.get("/v1/jobs?cursor=nonsense").await.problem(400, "bad_cursor");
    for query in ["limit=0", "limit=501", "limit=x", "state=lost", "colour=red", "limit=1&limit=2"] {
        app.get(&format!("/v1/jobs?{query}")).await.problem(400, "bad_parameter");
    }
    let panic = app.json("POST", "/v1/jobs", &json!({"template": "panic"})).await;
    panic.problem(500, "internal_error");
    app.get("/v1/jobs").await.ok(200);
}

#[tokio::test]
async fn too_much_at_once_is_told_when_to_come_back() {
    let app = App::with(ProducerOptions { requests_max: 0, ..Default::default() }).await;
    app.get("/v1/jobs").await.problem(503, "overloaded");
    let app = App::with(ProducerOptions { streams_max: 0, ..Default::default() }).await;
    let id = app.submitted().await;
    app.get(&format!("/v1/jobs/{id}/events")).await.problem(503, "overloaded");
    app.store.close().await;
    app.get("/v1/jobs").await.problem(503, "store_unavailable");
}

#[tokio::test]
async fn every_answer_is_safe_to_show_and_has_an_id() {
    let app = App::new().await;
    for path in ["/livez", "/v1/nothing", "/v1/jobs"] {
        let answer = app.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(answer.header("x-request-id").len(), 36);
    }
    let with_id = request("GET", "/livez", "x").header("x-request-id", "mine-1").body(Body::empty()).unwrap();
    assert_eq!(app.send(with_id).await.header("x-request-id"), "mine-1");
}
