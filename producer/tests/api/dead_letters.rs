//! Dead letters over HTTP; what a replay does in detail is tested in `bul-dlq-replayer`.

use bul_job::State;
use serde_json::json;

use crate::support::{App, pointers};

#[tokio::test]
async fn dead_letters_are_listed_by_condition() {
    let app = App::new().await;
    let first = app.dead().await;
    let second = app.dead().await;
    let page = app.get("/v1/dead-letters?limit=1").await.ok(200).shaped("DeadPage");
    assert_eq!((&page["total"], &page["items"][0]["id"]), (&json!(2), &json!(first)));
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = app.get(&format!("/v1/dead-letters?limit=1&cursor={cursor}")).await.shaped("DeadPage");
    assert_eq!(page["items"][0]["id"], json!(second));

    let total = async |query: &str| {
        app.get(&format!("/v1/dead-letters?{query}")).await.ok(200).json()["total"].clone()
    };
    assert_eq!(total("reason=permanent&template=invoice").await, 2);
    assert_eq!(total("filter=code=bad_data,since=2020-01-01").await, 2);
    assert_eq!(total("code=other").await, 0);
    for bad in ["reason=bored", "since=soon", "filter=colour%3Dred"] {
        app.get(&format!("/v1/dead-letters?{bad}")).await.problem(400, "bad_parameter");
    }
    app.get("/v1/dead-letters?filter=all&code=x").await.problem(400, "bad_parameter");
    let letter = app.get(&format!("/v1/dead-letters/{first}")).await.ok(200).shaped("DeadLetter");
    assert_eq!((&letter["code"], &letter["message"]), (&json!("bad_data"), &json!("the total is wrong")));
}

#[tokio::test]
async fn an_edit_answers_with_the_difference() {
    let app = App::new().await;
    let id = app.dead().await;
    let path = format!("/v1/dead-letters/{id}");
    let whole = json!({"template": "invoice", "data": {"number": "2026-18"}, "formats": ["md"]});
    let report = app.json("PUT", &path, &whole).await.ok(200).shaped("EditReport");
    assert!(report["diff"].as_str().unwrap().contains("+    \"number\": \"2026-18\""), "{report}");
    let patch = json!({"data": {"number": "2026-19"}}).to_string();
    let report =
        app.body("PATCH", &path, "application/merge-patch+json", patch).await.ok(200).shaped("EditReport");
    assert_eq!(report["changed"], true);

    let problem =
        app.json("PATCH", &path, &json!({"data": {"number": null}})).await.problem(422, "invalid_job");
    assert_eq!(pointers(&problem), ["/data/number"]);
    app.json("PUT", &path, &json!({"template": "nonsense"})).await.problem(422, "invalid_job");
    let alive = app.submitted().await;
    app.json("PUT", &format!("/v1/dead-letters/{alive}"), &whole).await.problem(404, "not_found");
    let audit = app.get("/v1/audit").await.ok(200).shaped("AuditPage");
    assert_eq!(
        (&audit["items"][0]["action"], &audit["items"][0]["actor"]),
        (&json!("dlq.edit"), &json!("operator"))
    );
}

#[tokio::test]
async fn one_replay_runs_once() {
    let app = App::new().await;
    let id = app.dead().await;
    let path = format!("/v1/dead-letters/{id}/replay");
    app.call("POST", &path, &app.keys.operate).await.ok(202).shaped("ReplayReport");
    assert_eq!(app.state_of(id).await, State::Waiting);
    app.call("POST", &path, &app.keys.operate).await.problem(409, "not_possible_now");
    let job = app.get(&format!("/v1/jobs/{id}")).await.shaped("JobDetail");
    assert!(job["explanation"].as_str().unwrap().contains("replayed"), "{}", job["explanation"]);
}

#[tokio::test]
async fn many_are_replayed_by_ids_or_filter() {
    let app = App::new().await;
    let ids = [app.dead().await, app.dead().await, app.dead().await];
    let post = async |body| app.json("POST", "/v1/dead-letters/replay", &body).await;
    let dry = post(json!({"filter": {"template": "invoice"}, "dry_run": true}))
        .await
        .ok(200)
        .shaped("ReplayReport");
    assert_eq!((&dry["matched"], &dry["replayed"]), (&json!(3), &json!(0)));
    let one = post(json!({"ids": [ids[0]]})).await.ok(202).shaped("ReplayReport");
    assert_eq!(one["replayed"], 1);
    let rest =
        post(json!({"filter": "reason=permanent", "rate": "1/h"})).await.ok(202).shaped("ReplayReport");
    assert_eq!(rest["replayed"], 2);
    let again = post(json!({"ids": ids})).await.ok(202).json();
    assert_eq!((&again["replayed"], &again["skipped"]), (&json!(0), &json!(3)));

    let refused = async |body, pointer: &str| {
        let problem = post(body).await.problem(422, "invalid_field");
        assert_eq!(pointers(&problem), [pointer]);
    };
    refused(json!({}), "").await;
    refused(json!({"ids": [ids[0]], "filter": "all"}), "").await;
    refused(json!({"filter": ""}), "/filter").await;
    refused(json!({"filter": {}}), "/filter").await;
    refused(json!({"filter": "colour=red"}), "/filter").await;
    refused(json!({"filter": "all", "rate": "fast"}), "/rate").await;
    refused(json!({"ids": []}), "/ids").await;
    refused(json!({"idz": []}), "/idz").await;
    let problem = post(json!({"ids": ["7"]})).await.problem(422, "invalid_job");
    assert_eq!(pointers(&problem), ["/ids/0"]);
}

#[tokio::test]
async fn a_purge_erases() {
    let app = App::new().await;
    let id = app.dead().await;
    app.dead().await;
    let path = format!("/v1/dead-letters/{id}");
    app.call("DELETE", &path, &app.keys.operate).await.ok(204);
    app.call("GET", &path, &app.keys.operate).await.problem(404, "not_found");
    let job = app.get(&format!("/v1/jobs/{id}")).await.ok(200).shaped("JobDetail");
    assert_eq!(job.get("job"), None);
    let report = app.json("POST", "/v1/dead-letters/purge", &json!({"filter": "all"})).await;
    assert_eq!(report.ok(200).shaped("PurgeReport")["purged"], 1);
    assert_eq!(app.get("/v1/dead-letters").await.json()["total"], 0);
    assert_eq!(app.get("/v1/stats").await.json()["jobs"]["dead"], 2);
}
