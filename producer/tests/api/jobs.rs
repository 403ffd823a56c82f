//! Submit, list, look, cancel.

use axum::body::Body;
use bul_job::{Failure, FailureClass, State};
use serde_json::json;

use crate::support::{App, invoice, request};

#[tokio::test]
async fn a_submitted_job_is_stored_published_and_shown() {
    let app = App::new().await;
    let answer = app.json("POST", "/v1/jobs", &invoice()).await;
    let value = answer.ok(202).shaped("Submitted");
    let id = value["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    assert_eq!((&value["state"], &value["existing"]), (&json!("queued"), &json!(false)));
    let depths = app.broker.depths().await.unwrap();
    assert_eq!(depths[bul_job::Lane::Normal.index()].ready, 1);

    let job = app.get(answer.header("location")).await;
    let job = job.ok(200).shaped("JobDetail");
    assert_eq!(job["explanation"], "queued in lane normal, next in its lane");
    assert_eq!(job["source"], "http");
    let second = app.submitted().await;
    let job = app.get(&format!("/v1/jobs/{second}")).await.json();
    assert_eq!(job["explanation"], "queued in lane normal, 1 job before it");
}

#[tokio::test]
async fn a_confirmed_publication_is_told_to_the_store() {
    let app = App::new().await;
    let id = app.submitted().await;
    let core = app.store.job(&bul_job::TenantId::default_tenant(), id).await.unwrap().core;
    let unconfirmed = app.store.now() + bul_job::Rules::default().publish_grace;
    assert_eq!((core.state, core.due_at > Some(unconfirmed)), (State::Queued, true));
}

#[tokio::test]
async fn a_broker_that_is_down_does_not_concern_the_caller() {
    let app = App::new().await;
    app.broker.close().await;
    let id = app.submitted().await;
    let core = app.store.job(&bul_job::TenantId::default_tenant(), id).await.unwrap().core;
    assert!(core.due_at.is_some(), "the dispatcher must find it");
    assert!(app.get("/metrics").await.text().contains("bul_publish_failures_total 1"));
}

#[tokio::test]
async fn an_idempotency_key_makes_one_job_by_header_or_field() {
    let app = App::new().await;
    let send = async |key: &str, body: serde_json::Value| {
        let request = request("POST", "/v1/jobs", &app.keys.submit)
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        app.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let first = send("order-7", invoice()).await;
    let first = first.ok(202).json();
    let again = send("\"order-7\"", invoice()).await;
    let again = again.ok(200).shaped("Submitted");
    assert_eq!((&again["id"], &again["existing"]), (&first["id"], &json!(true)));

    let mut with_field = invoice();
    with_field["idempotency_key"] = json!("order-7");
    assert_eq!(app.json("POST", "/v1/jobs", &with_field).await.ok(200).json()["id"], first["id"]);
    send("other", with_field).await.problem(422, "invalid_field");

    let mut changed = invoice();
    changed["data"]["number"] = json!("2026-18");
    let conflict = send("order-7", changed).await.problem(409, "idempotency_conflict");
    assert!(conflict["detail"].as_str().unwrap().contains(first["id"].as_str().unwrap()));
    send("", invoice()).await.problem(400, "bad_header");
}

#[tokio::test]
async fn a_cloud_event_is_a_job() {
    let app = App::new().await;
    let event = json!({
        "specversion": "1.0", "type": "dev.bul.job.submitted.v1", "id": "e-1", "source": "/erp",
        "datacontenttype": "application/json", "data": invoice()
    });
    let media_type = "application/cloudevents+json; charset=utf-8";
    let first = app.body("POST", "/v1/jobs", media_type, event.to_string()).await;
    let first = first.ok(202).shaped("Submitted");
    let again = app.body("POST", "/v1/jobs", media_type, event.to_string()).await;
    assert_eq!(again.ok(200).json()["id"], first["id"]);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let app = App::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(app.submitted().await.to_string());
    }
    app.complete(ids[0].parse().unwrap(), "First").await;
    ids.reverse();

    let mut seen = Vec::new();
    let mut path = "/v1/jobs?limit=2".to_owned();
    loop {
        let page = app.get(&path).await.ok(200).shaped("JobPage");
        seen.extend(page["items"].as_array().unwrap().iter().map(|j| j["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/jobs?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ids);
    let count = async |query: &str| {
        app.get(&format!("/v1/jobs?{query}")).await.ok(200).json()["items"].as_array().unwrap().len()
    };
    assert_eq!(count("state=completed").await, 1);
    assert_eq!(count("state=completed,queued").await, 5);
    assert_eq!(count("template=contract").await, 0);
    let other = app.call("GET", "/v1/jobs", &app.keys.stranger).await;
    assert_eq!(other.json()["items"], json!([]));
}

#[tokio::test]
async fn cancelling_ends_a_waiting_job_and_asks_a_running_one() {
    let app = App::new().await;
    let queued = app.submitted().await;
    let answer = app.call("DELETE", &format!("/v1/jobs/{queued}"), &app.keys.submit).await;
    assert_eq!(answer.ok(200).shaped("JobStatus")["state"], "cancelled");
    app.call("DELETE", &format!("/v1/jobs/{queued}"), &app.keys.submit)
        .await
        .problem(409, "not_possible_now");

    let running = app.submitted().await;
    app.begin(running).await;
    let answer = app.call("DELETE", &format!("/v1/jobs/{running}"), &app.keys.submit).await;
    assert_eq!(answer.ok(202).json()["state"], "running");
    let job = app.get(&format!("/v1/jobs/{running}")).await.shaped("JobDetail");
    assert!(
        job["explanation"].as_str().unwrap().ends_with("; it was asked to end"),
        "{}",
        job["explanation"]
    );
}

#[tokio::test]
async fn a_waiting_job_says_until_when_and_why() {
    let app = App::new().await;
    let id = app.submitted().await;
    let attempt = app.begin(id).await;
    let failure = Failure {
        class: FailureClass::Transient,
        code: "model_unavailable".into(),
        message: "model unavailable".into(),
        retry_after_ms: Some(60_000),
    };
    app.store.fail(id, attempt.attempt, &failure).await.unwrap();
    let job = app.get(&format!("/v1/jobs/{id}")).await.shaped("JobDetail");
    let why = job["explanation"].as_str().unwrap();
    assert!(why.starts_with("waits until 2"), "{why}");
    assert!(why.ends_with("(retry 1 of 4 after: model unavailable)"), "{why}");

    let mut later = invoice();
    later["run_at"] = json!("2999-01-01T00:00:00Z");
    let answer = app.json("POST", "/v1/jobs", &later).await.ok(202).json();
    assert_eq!(answer["state"], "waiting");
    let job = app.get(answer["location"].as_str().unwrap()).await.shaped("JobDetail");
    assert_eq!(job["explanation"], "waits until 2999-01-01T00:00:00Z (its run_at)");
}
