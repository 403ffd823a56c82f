//! Schedules.

use serde_json::{Value, json};

use crate::support::{App, invoice, pointers};

fn monday() -> Value {
    json!({"name": "weekly", "cron": "0 9 * * MON", "timezone": "Europe/Berlin", "missed": "skip", "job": invoice()})
}

#[tokio::test]
async fn a_schedule_lives_from_adding_to_removal() {
    let app = App::new().await;
    let added = app.json("POST", "/v1/schedules", &monday()).await;
    let value = added.ok(201).shaped("Schedule");
    assert_eq!(added.header("location"), "/v1/schedules/weekly");
    assert_eq!((&value["zone"], &value["missed"]), (&json!("Europe/Berlin"), &json!("skip")));
    assert!(value["next_at"].is_string());
    app.json("POST", "/v1/schedules", &monday()).await.problem(409, "exists_already");

    let list = app.get("/v1/schedules").await;
    assert_eq!(list.ok(200).shaped("SchedulePage")["items"][0]["name"], "weekly");
    app.get("/v1/schedules/weekly").await.ok(200).shaped("Schedule");

    let next = app.get("/v1/schedules/weekly/next?count=3").await.ok(200).shaped("Next");
    assert_eq!(next["next"].as_array().unwrap().len(), 3);
    assert_eq!(next["next"][0], value["next_at"]);
    app.get("/v1/schedules/weekly/next?count=101").await.problem(400, "bad_parameter");

    let post =
        async |verb: &str| app.call("POST", &format!("/v1/schedules/weekly/{verb}"), &app.keys.operate).await;
    assert_eq!(post("pause").await.ok(200).shaped("Schedule")["paused"], true);
    assert_eq!(post("resume").await.ok(200).shaped("Schedule")["paused"], false);
    let run = post("run-now").await;
    let id = run.ok(202).shaped("Submitted")["id"].as_str().unwrap().to_owned();
    assert_eq!(app.get(&format!("/v1/jobs/{id}")).await.json()["source"], "schedule:weekly");

    app.call("DELETE", "/v1/schedules/weekly", &app.keys.operate).await.ok(204);
    app.call("DELETE", "/v1/schedules/weekly", &app.keys.operate).await.problem(404, "not_found");
    post("run-now").await.problem(404, "not_found");
    app.get(&format!("/v1/jobs/{id}")).await.ok(200);
}

#[tokio::test]
async fn wrong_schedules_are_refused_by_field() {
    let app = App::new().await;
    let check = async |change: Value, expected: &[&str]| {
        let mut schedule = monday();
        schedule.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = app.json("POST", "/v1/schedules", &schedule).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert_eq!(pointers(&answer.shaped("Problem")), expected, "{change}");
    };
    check(json!({"cron": "61 * * * *"}), &["/cron"]).await;
    check(json!({"cron": "0 0 30 2 *"}), &["/cron"]).await;
    check(json!({"timezone": "Berlin"}), &["/timezone"]).await;
    check(json!({"name": "a/b"}), &["/name"]).await;
    check(json!({"missed": "sometimes"}), &["/missed"]).await;
    check(json!({"job": {"template": "nonsense"}}), &["/job/template"]).await;
    check(json!({"job": {"query": "x", "colour": 1}}), &["/job/colour"]).await;
    check(json!({"job": {"query": "x", "idempotency_key": "k"}}), &["/job/idempotency_key"]).await;
    assert_eq!(app.get("/v1/schedules").await.json()["items"], json!([]));
}

#[tokio::test]
async fn schedules_of_others_do_not_exist() {
    let app = App::new().await;
    app.json("POST", "/v1/schedules", &monday()).await.ok(201);
    app.call("GET", "/v1/schedules/weekly", &app.keys.stranger).await.problem(404, "not_found");
    app.call("DELETE", "/v1/schedules/weekly", &app.keys.stranger).await.problem(404, "not_found");
    assert_eq!(app.call("GET", "/v1/schedules", &app.keys.stranger).await.json()["items"], json!([]));
}
