//! Dead letters over HTTP; what a replay does in detail is tested in `bul-dlq-replayer`.

use bul_job::State;
use bul_store::BreakerReport;
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
    let dry = format!("{path}?dry_run=true");
    let seen = app.body("PATCH", &dry, "application/merge-patch+json", patch.clone()).await;
    let seen = seen.ok(200).shaped("EditReport");
    assert_eq!((&seen["changed"], &seen["dry_run"]), (&json!(true), &json!(true)));
    assert_eq!(app.get(&path).await.json()["job"]["data"]["number"], "2026-18");
    app.json("PUT", &format!("{path}?dry=1"), &whole).await.problem(400, "bad_parameter");
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

async fn breaker(app: &App, open: bool) {
    let report = BreakerReport { process: "worker-1".into(), dependency: "model".into(), open };
    app.store.report_breaker(&report).await.unwrap();
}

#[tokio::test]
async fn one_replay_waits_for_the_breaker_unless_it_is_forced() {
    let app = App::new().await;
    let id = app.dead().await;
    let path = format!("/v1/dead-letters/{id}/replay");
    breaker(&app, true).await;
    let problem = app.call("POST", &path, &app.keys.operate).await.problem(503, "breaker_open");
    assert_eq!(problem["retryable"], true);
    assert!(problem["detail"].as_str().unwrap().contains("model is down for worker-1"), "{problem}");
    let dry = app.json("POST", &path, &json!({"dry_run": true})).await.ok(200).shaped("ReplayReport");
    assert!(dry["halted"].as_str().unwrap().contains("model"), "{dry}");
    assert_eq!(app.state_of(id).await, State::Dead);
    app.json("POST", &path, &json!({"forze": true})).await.problem(422, "invalid_field");
    app.json("POST", &path, &json!({"force": true})).await.ok(202).shaped("ReplayReport");
    assert_eq!(app.state_of(id).await, State::Waiting);
}

#[tokio::test]
async fn a_replay_takes_an_edit_along_and_shows_it_first() {
    let app = App::new().await;
    let id = app.dead().await;
    let path = format!("/v1/dead-letters/{id}/replay");
    let edit = json!({"data": {"number": "2026-18"}});
    let dry = json!({"edit": edit, "dry_run": true});
    let dry = app.json("POST", &path, &dry).await.ok(200).shaped("ReplayReport");
    assert!(dry["edits"][0]["diff"].as_str().unwrap().contains("+    \"number\": \"2026-18\""), "{dry}");
    let wrong = json!({"edit": {"data": {"number": null}}});
    let problem = app.json("POST", &path, &wrong).await.problem(422, "invalid_job");
    assert_eq!(pointers(&problem), ["/data/number"]);
    assert_eq!(app.get("/v1/audit").await.json()["items"], json!([]));

    let many = json!({"filter": "template=invoice", "edit": edit});
    let report = app.json("POST", "/v1/dead-letters/replay", &many).await.ok(202).shaped("ReplayReport");
    assert_eq!((&report["replayed"], &report["edits"][0]["dry_run"]), (&json!(1), &json!(false)));
    let job = app.get(&format!("/v1/jobs/{id}")).await.ok(200).json();
    assert_eq!((&job["id"], &job["job"]["data"]["number"]), (&json!(id), &json!("2026-18")));
    let audit = app.get("/v1/audit").await.ok(200).shaped("AuditPage");
    let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|line| &line["action"]).collect();
    assert_eq!(actions, ["dlq.replay", "dlq.edit"]);
}

#[tokio::test]
async fn a_paced_replay_goes_on_request_by_request_and_halts_for_a_breaker() {
    let app = App::new().await;
    let ids = [app.dead().await, app.dead().await, app.dead().await];
    let post =
        async |body| app.json("POST", "/v1/dead-letters/replay", &body).await.ok(202).shaped("ReplayReport");
    let first = post(json!({"filter": "all", "rate": "1/h"})).await;
    assert_eq!((&first["matched"], &first["replayed"], first.get("halted")), (&json!(3), &json!(1), None));
    assert!(first["again_after_ms"].as_u64().is_some_and(|ms| ms <= 3_600_000), "{first}");
    let cursor = &first["next_cursor"];
    breaker(&app, true).await;
    let halted = post(json!({"filter": "all", "rate": "1/h", "cursor": cursor})).await;
    assert!(halted["halted"].as_str().unwrap().contains("model is down"), "{halted}");
    assert_eq!((&halted["replayed"], &halted["next_cursor"]), (&json!(0), cursor));
    assert_eq!(app.state_of(ids[1]).await, State::Dead);
    breaker(&app, false).await;
    let rest = post(json!({"ids": ids, "cursor": cursor})).await;
    assert_eq!((&rest["matched"], &rest["replayed"]), (&json!(2), &json!(2)));
    assert_eq!((rest.get("next_cursor"), rest.get("again_after_ms")), (None, None));
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
    let rest = post(json!({"filter": "reason=permanent", "rate": "1/h", "force": true}));
    let rest = rest.await.ok(202).shaped("ReplayReport");
    assert_eq!((&rest["replayed"], rest.get("again_after_ms")), (&json!(2), None));
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
    refused(json!({"filter": "all", "edit": 7}), "/edit").await;
    post(json!({"filter": "all", "cursor": "?"})).await.problem(400, "bad_cursor");
    let problem = post(json!({"ids": ["7"]})).await.problem(422, "invalid_job");
    assert_eq!(pointers(&problem), ["/ids/0"]);
}

#[tokio::test]
async fn a_purge_erases() {
    let app = App::new().await;
    let id = app.dead().await;
    app.dead().await;
    for (key, value) in [("rate", "1/s"), ("cursor", "x")] {
        let asked = json!({"filter": "all", key: value});
        let problem = app.json("POST", "/v1/dead-letters/purge", &asked).await.problem(422, "invalid_field");
        assert_eq!(pointers(&problem), [format!("/{key}")]);
    }
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
