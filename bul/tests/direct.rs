//! Commands that need no server: straight on the store, local templates, settings.

mod support;

use support::Bul;

#[test]
fn jobs_are_kept_for_the_process_that_runs_them() {
    let bul = Bul::new();
    let ran = bul.run(&["submit", "--query", "A plan", "--format", "md", "--direct"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let id = ran.out.split_whitespace().next().unwrap().to_owned();
    assert_eq!(ran.out, format!("{id}  queued\n"));

    let list = bul.json(&["jobs", "list", "--direct"]);
    assert_eq!((list[0]["id"].as_str(), list[0]["state"].as_str()), (Some(id.as_str()), Some("queued")));
    let short = &id[id.len() - 8..];
    let shown = bul.json(&["jobs", "show", short, "--direct"]);
    assert_eq!(shown["job"]["query"], "A plan");
    assert!(shown["explanation"].as_str().unwrap().contains("lane normal"));

    let cancelled = bul.json(&["jobs", "cancel", short, "--direct"]);
    assert_eq!(cancelled[0]["state"], "cancelled");
    let again = bul.run(&["jobs", "cancel", &id, "--direct"]);
    assert_eq!(again.code, 1, "{again:?}");
    bul.run(&["jobs", "document", &id, "--format", "md", "--direct"]).fails(3, &["it is cancelled"]);

    let ledger = bul.json(&["ledger"]);
    assert_eq!(ledger["total"]["accepted"], 1);
    assert_eq!(ledger["tenants"]["default"]["cancelled"], 1);
    let text = bul.run(&["ledger"]);
    assert!(text.out.contains("1 accepted = 0 completed + 1 cancelled + 0 dead"), "{text:?}");
}

/// Nobody is there to do the job, and the user who waits is told so.
#[test]
fn whoever_waits_for_nobody_is_told() {
    let bul = Bul::new();
    let ran = bul.run(&["submit", "--query", "A plan", "--direct", "--wait", "--timeout", "8"]);
    ran.fails(
        1,
        &["still waiting: ", "lane normal", "hint: jobs are done by `bul up`", "not finished after 8 s"],
    );
    assert_eq!(bul.json(&["ledger"])["total"]["accepted"], 1);
}

#[test]
fn keys_of_submissions_are_kept() {
    let bul = Bul::new();
    let submit = |query: &str| {
        bul.run(&["submit", "--query", query, "--idempotency-key", "k", "--direct", "-o", "json"])
    };
    let (first, second) = (submit("a"), submit("a"));
    let read = |ran: &support::Ran| serde_json::from_str::<serde_json::Value>(&ran.out).unwrap();
    assert_eq!(read(&first)["id"], read(&second)["id"]);
    assert_eq!(
        (read(&first)["existing"].as_bool(), read(&second)["existing"].as_bool()),
        (Some(false), Some(true))
    );
    submit("b").fails(1, &["belongs to job"]);
    assert_eq!(bul.json(&["ledger"])["total"]["accepted"], 1);
}

#[test]
fn schedules_have_a_life() {
    let bul = Bul::new();
    let job = bul.file("job.json", r#"{"query":"Plan of the week"}"#);
    let added = bul.json(&[
        "schedule",
        "add",
        "weekly",
        "--cron",
        "0 9 * * MON",
        "--timezone",
        "Europe/Berlin",
        &job,
        "--direct",
    ]);
    assert_eq!((added["name"].as_str(), added["paused"].as_bool()), (Some("weekly"), Some(false)));
    bul.run(&["schedule", "add", "weekly", "--cron", "@daily", &job, "--direct"])
        .fails(1, &["exists already"]);
    let next = bul.run(&["schedule", "next", "weekly", "--count", "3", "--direct"]);
    assert_eq!(
        next.out.lines().filter(|line| line.starts_with("Mon ") && line.contains(" 09:00 CE")).count(),
        3,
        "{next:?}"
    );
    assert_eq!(bul.json(&["schedule", "pause", "weekly", "--direct"])["paused"], true);
    assert_eq!(bul.json(&["schedule", "list", "--direct"])[0]["paused"], true);
    assert_eq!(bul.json(&["schedule", "resume", "weekly", "--direct"])["paused"], false);
    assert_eq!(bul.json(&["schedule", "run-now", "weekly", "--direct"])["state"], "queued");
    assert_eq!(bul.json(&["schedule", "remove", "weekly", "--direct"])["removed"], true);
    bul.run(&["schedule", "next", "weekly", "--direct"]).fails(3, &["no schedule"]);
}

#[test]
fn dead_letters_are_none_at_first() {
    let bul = Bul::new();
    assert_eq!(bul.json(&["dlq", "list", "--direct"]), serde_json::json!([]));
    let replay = bul.json(&["dlq", "replay", "--all", "--direct"]);
    assert_eq!((replay["matched"].as_u64(), replay["replayed"].as_u64()), (Some(0), Some(0)));
    assert_eq!(bul.json(&["dlq", "purge", "--all", "--direct"])["matched"], 0);
    assert_eq!(bul.json(&["usage", "--direct"]), serde_json::json!([]));
}

#[test]
fn a_key_is_shown_once() {
    let bul = Bul::new();
    let made = bul.json(&["key", "create", "--name", "erp", "--permission", "operate", "--tenant", "acme"]);
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(secret.starts_with("bul_") && made.get("hash").is_none());
    let list = bul.run(&["key", "list", "-o", "json"]);
    assert!(list.out.contains(id) && list.out.contains("acme") && !list.out.contains(secret), "{list:?}");
    assert_eq!(bul.json(&["key", "revoke", id])["revoked"], true);
    let text = bul.run(&["key", "list"]);
    assert!(text.out.contains("revoked"), "{text:?}");
    bul.run(&["key", "create", "--name", "x", "--tenant", "A B"]).fails(2, &["--tenant"]);
    bul.run(&["key", "create", "--name", " "]).fails(2, &["--name"]);
}

#[test]
fn settings_are_checked_and_shown_with_their_origin() {
    let bul = Bul::new();
    assert_eq!(bul.json(&["config", "check"])["ok"], true);
    let environment = [("BUL_KEY", "bul_x_geheim"), ("BUL_LISTEN", "0.0.0.0:9000"), ("BUL_SOTRE", "x")];
    let shown = bul.run_with(&["config", "show"], &environment, "");
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        shown.out.contains("0.0.0.0:9000")
            && shown.out.contains("$BUL_LISTEN")
            && shown.out.contains("(set)")
    );
    assert!(!shown.out.contains("geheim") && shown.err.contains("BUL_SOTRE"));
    let file = bul.file("bad.toml", "listen = 'nowhere'\n[worker]\nlanes = ['fast']\n");
    let bad = bul.run(&["config", "check", "--config", &file]);
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(
        bad.err.contains("listen (") && bad.err.contains("worker.lanes") && bad.err.contains("bad.toml"),
        "{bad:?}"
    );
    let shares = "[model.tenants.a]\nfloor_percent = 60\n[model.tenants.b]\nfloor_percent = 40\n";
    let greedy = bul.file("greedy.toml", shares);
    let refused = bul.run(&["config", "check", "--config", &greedy]);
    assert!(
        refused.code == 2 && refused.err.contains("model.tenants") && refused.err.contains("100 percent"),
        "{refused:?}"
    );
    let fair = bul.file("fair.toml", &shares.replace("40", "20"));
    assert_eq!(bul.run(&["config", "check", "--config", &fair]).code, 0);
    let schema = bul.json(&["config", "schema"]);
    let tenants = &schema["properties"]["model"]["properties"]["tenants"];
    assert_eq!(
        tenants["additionalProperties"]["properties"]["floor_percent"]["type"], "integer",
        "{tenants}"
    );
    assert_eq!(schema["properties"]["worker"]["properties"]["lease_s"]["type"], "integer");
    assert_eq!(bul.json(&["migrate"])["kind"], "sqlite");
    assert!(bul.run(&["completions", "bash"]).out.contains("_bul"));
}

#[test]
fn templates_work_without_a_server() {
    let bul = Bul::new();
    let list = bul.json(&["template", "list"]);
    assert!(list.as_array().unwrap().iter().any(|t| t["name"] == "invoice"), "{list}");
    let shown = bul.json(&["template", "show", "invoice"]);
    assert!(
        shown["schema"].is_object()
            && shown["sample"].is_object()
            && !shown["facts"].as_array().unwrap().is_empty()
    );
    let data = bul.file("data.json", &shown["sample"].to_string());
    let md = bul.run(&["template", "render", "invoice", "--data", &data, "--format", "md"]);
    assert_eq!(md.code, 0, "{md:?}");
    assert!(md.out.starts_with("# ") || md.out.contains("\n# "), "{}", md.out);
    let out = bul.folder.path().join("x.pdf").display().to_string();
    let pdf = bul.run(&["template", "render", "invoice", "--data", &data, "--format", "pdf", "--out", &out]);
    assert_eq!((pdf.code, pdf.out.as_str()), (0, ""), "{pdf:?}");
    assert!(std::fs::read(&out).unwrap().starts_with(b"%PDF"));
    let wrong = bul.file("wrong.json", "{}");
    bul.run(&["template", "render", "invoice", "--data", &wrong, "--format", "md"])
        .fails(2, &["does not fit", "bul template show"]);
}
