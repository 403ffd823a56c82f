//! Dead letters against a server that says what a test wants: replays request by request, edits, the audit.

mod support;

use serde_json::{Value, json};
use support::{Bul, Canned, answer, problem};

const ID: &str = "0192f0c8-7b2e-7abc-8def-0123456789ab";

fn says(value: &Value) -> String {
    answer(200, "application/json", &value.to_string())
}

fn report(with: Value) -> Value {
    let mut report = json!({"matched": 3, "replayed": 0, "skipped": 0, "failed": 0, "stopped": null, "dry_run": false, "ids": []});
    report.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    report
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

#[test]
fn a_replay_halts_while_the_server_names_a_breaker_and_goes_on_by_itself() {
    let down = "model is down for worker-1";
    let server = Canned::new(vec![
        says(&report(
            json!({"replayed": 1, "ids": [ID], "stopped": "x", "next_cursor": "c1", "again_after_ms": 1}),
        )),
        says(&report(json!({"halted": down, "stopped": "x", "next_cursor": "c1", "again_after_ms": 1}))),
        says(&report(json!({"matched": 2, "replayed": 2}))),
    ]);
    let bul = Bul::with_url(&server.url);
    let ran = bul.run(&["dlq", "replay", "--filter", "code=x", "--rate", "10/s", "-o", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let done: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&done["matched"], &done["replayed"], &done["stopped"]), (&json!(3), &json!(3), &Value::Null));
    assert!(ran.err.contains(&format!("the replay halts: {down} (1 of 3 done)")), "{}", ran.err);
    assert!(ran.err.contains("the replay goes on"), "{}", ran.err);
    let asked = [server.request(), server.request(), server.request()].map(|request| body(&request));
    let cursors = asked.each_ref().map(|body| body["cursor"].clone());
    assert_eq!(cursors, [Value::Null, json!("c1"), json!("c1")]);
    assert!(asked.iter().all(|body| body["filter"] == "code=x" && body["rate"] == "10/s"), "{asked:?}");
}

/// What is done already is told although the server has gone.
#[test]
fn a_replay_that_loses_its_server_tells_how_far_it_came() {
    let server = Canned::new(vec![
        says(&report(
            json!({"replayed": 1, "ids": [ID], "stopped": "x", "next_cursor": "c1", "again_after_ms": 1}),
        )),
        problem(500, "internal_error", "the server failed"),
    ]);
    let ran = Bul::with_url(&server.url).run(&["dlq", "replay", "--all"]);
    assert_eq!((ran.code, ran.out.lines().next()), (1, Some("1 of 3 dead letters replayed")), "{ran:?}");
    assert!(ran.err.contains("stopped early: the server failed"), "{}", ran.err);
}

#[test]
fn an_edit_with_a_replay_is_shown_and_asked_for() {
    let diff = "-  \"currency\": \"USD\"\n+  \"currency\": \"EUR\"\n";
    let edit = json!([{"id": ID, "changed": true, "diff": diff, "dry_run": true}]);
    let server = Canned::new(vec![says(&report(json!({"dry_run": true, "edits": edit, "ids": [ID]})))]);
    let set = ["dlq", "replay", "--all", "--set", "data.currency=EUR"];
    let ran = Bul::with_url(&server.url).run(&set);
    ran.fails(2, &[diff, "edit and replay 3 dead letters like this?", "add --yes"]);
    assert_eq!(body(&server.request())["dry_run"], true);

    let server = Canned::new(vec![says(&report(json!({"replayed": 3, "ids": [ID], "edits": edit})))]);
    let ran = Bul::with_url(&server.url).run(&[&set[..], &["--yes", "--force"]].concat());
    assert!(ran.code == 0 && ran.out.contains(diff), "{ran:?}");
    let asked = body(&server.request());
    assert_eq!(
        (&asked["edit"], &asked["ignore_breakers"]),
        (&json!({"data": {"currency": "EUR"}}), &json!(true))
    );
}

#[test]
fn an_edit_can_be_looked_at_without_being_made() {
    let letter = json!({"id": ID, "tenant": "default", "reason": "unreadable", "code": "", "message": "not JSON",
        "attempts": 0, "died_at": "2026-11-16T10:00:00Z", "template": ""});
    let seen = json!({"id": ID, "changed": true, "diff": "+  \"query\": \"x\"\n", "dry_run": true});
    let server = Canned::new(vec![says(&letter), says(&seen)]);
    let bul = Bul::with_url(&server.url);
    let job = bul.file("job.json", r#"{"query": "x"}"#);
    let ran = bul.run(&["dlq", "edit", ID, "--file", &job, "--dry-run"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "+  \"query\": \"x\"\nnothing was changed\n"), "{ran:?}");
    server.request();
    let asked = server.request();
    assert!(asked.starts_with(&format!("PUT /v1/dead-letters/{ID}?dry_run=true ")), "{asked}");
}

#[test]
fn the_audit_is_listed() {
    let line = json!({"at": "2026-11-16T10:00:00Z", "actor": "olga", "action": "dlq.edit", "job": ID, "detail": "data"});
    let server = Canned::new(vec![says(&json!({"items": [line]}))]);
    let ran = Bul::with_url(&server.url).run(&["dlq", "audit", "--limit", "7"]);
    let row = "2026-11-16 10:00:00 UTC  olga  dlq.edit  456789ab  data";
    assert!(ran.code == 0 && ran.out.lines().nth(1) == Some(row), "{ran:?}");
    assert!(server.request().starts_with("GET /v1/audit?limit=7 "));
    let direct = Bul::new();
    assert_eq!(direct.json(&["dlq", "audit", "--direct"]), json!([]));
}
