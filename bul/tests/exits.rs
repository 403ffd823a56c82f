//! Stable exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 unavailable; data on stdout only.

mod support;

use support::{Bul, Canned, answer, problem};

const ID: &str = "0192f0c8-7b2e-7abc-8def-0123456789ab";

#[test]
fn without_a_server_every_client_command_is_unavailable_and_says_what_to_do() {
    let bul = Bul::new();
    let job = bul.file("job.json", r#"{"query":"A plan"}"#);
    for arguments in [
        vec!["submit", &job],
        vec!["submit", "--query", "A plan", "--wait"],
        vec!["jobs", "list"],
        vec!["jobs", "show", ID],
        vec!["jobs", "watch", ID],
        vec!["jobs", "cancel", ID],
        vec!["jobs", "document", ID, "--format", "md"],
        vec!["schedule", "list"],
        vec!["schedule", "add", "daily", "--cron", "@daily", &job],
        vec!["dlq", "list"],
        vec!["dlq", "replay", "--all"],
        vec!["usage"],
    ] {
        bul.run(&arguments)
            .fails(4, &["error: cannot reach the server at", "hint: start it with: bul up, or add --direct"]);
    }
}

#[test]
fn mistakes_on_the_command_line_are_usage() {
    let bul = Bul::new();
    for arguments in [
        &["dance"][..],
        &["submit"],
        &["submit", "/does/not/exist.json"],
        &["submit", "x.json", "--as", "fax"],
        &["submit", "--query", "x", "--set", "nonsense"],
        &["submit", "--query", "x", "--set", "colour=red"],
        &["submit", "--query", "x", "--format", "docx"],
        &["submit", "--query", "x", "--priority", "urgent"],
        &["jobs", "list", "--state", "lost"],
        &["jobs", "list", "--limit", "0"],
        &["jobs", "show", "no-id"],
        &["jobs", "document", ID, "--format", "gif"],
        &["schedule", "add", "x", "--cron", "every day", "job.json"],
        &["schedule", "add", "x", "--cron", "@daily", "--timezone", "Berlin", "job.json"],
        &["dlq", "replay"],
        &["dlq", "list", "--filter", "colour=red"],
        &["dlq", "replay", "--all", "--rate", "fast"],
        &["usage", "--since", "yesterday"],
        &["key", "create"],
        &["jobs", "list", "--url", "no url"],
        &["completions", "cmd.exe"],
    ] {
        bul.run(arguments).fails(2, &["error:"]);
    }
    bul.run_with(&["config", "show"], &[("BUL_WORKER_LEASE_S", "long")], "").fails(2, &["worker.lease_s"]);
}

#[test]
fn wrong_jobs_are_refused_with_file_and_place_before_anything_is_sent() {
    let bul = Bul::new();
    let jobs = bul.file("jobs.json", r#"[{"query":"good"},{"query":"x","formats":["gif"]},{"priority":9}]"#);
    bul.run(&["submit", &jobs])
        .fails(2, &["nothing was submitted", "jobs.json", "/1/formats/0", "/2/template", "/2/priority"]);
    let lines = bul.file("jobs.jsonl", "{\"query\":\"good\"}\n{\"qery\":\"x\"}\n");
    bul.run(&["submit", &lines]).fails(2, &["jobs.jsonl", "line 2", "qery"]);
    let broken = bul.file("broken.json", "{\"query\": ");
    bul.run(&["submit", &jobs, &broken]).fails(2, &["broken.json", "line 1"]);
    bul.run_with(&["submit", "-"], &[], "").fails(2, &["standard input", "empty"]);
}

#[test]
fn what_is_not_there_is_not_found() {
    let bul = Bul::new();
    bul.run(&["jobs", "show", ID, "--direct"]).fails(3, &["job not found"]);
    bul.run(&["jobs", "show", "456789ab", "--direct"]).fails(3, &["bul jobs list"]);
    bul.run(&["jobs", "document", ID, "--format", "md", "--direct"]).fails(3, &["not found"]);
    bul.run(&["schedule", "remove", "weekly", "--direct"]).fails(3, &["weekly"]);
    bul.run(&["dlq", "show", ID, "--direct"]).fails(3, &["dead letter"]);
    bul.run(&["key", "revoke", "nobody"]).fails(3, &["key"]);
    bul.run(&["template", "show", "poem"]).fails(3, &["there are: "]);
}

#[test]
fn answers_of_a_server_become_exit_codes() {
    let check = |status: u16, code: i32, part: &str| {
        let server = Canned::new(vec![problem(status, "some_code", "the reason"); 3]);
        let ran = Bul::with_url(&server.url).run(&["jobs", "show", ID]);
        ran.fails(code, &["the reason", part]);
    };
    check(401, 2, "hint: set BUL_KEY");
    check(403, 2, "operate");
    check(404, 3, "");
    check(409, 1, "");
    check(422, 2, "");
    check(500, 1, "");
    check(503, 4, "try again");
}

#[test]
fn another_program_at_the_address_is_recognised() {
    let server = Canned::new(vec![answer(404, "text/html", "<h1>Not Found</h1>")]);
    Bul::with_url(&server.url).run(&["jobs", "list"]).fails(4, &["not as a BUL server does", "BUL_URL"]);
    let server = Canned::new(vec![answer(200, "text/html", "<h1>Hello</h1>")]);
    Bul::with_url(&server.url).run(&["jobs", "list"]).fails(1, &["cannot be read"]);
}

#[test]
fn a_submission_is_repeated_under_the_same_key_when_the_connection_breaks() {
    let accepted = format!(r#"{{"id":"{ID}","state":"queued","existing":false,"location":"/v1/jobs/{ID}"}}"#);
    let server = Canned::new(vec![String::new(), answer(202, "application/json", &accepted)]);
    let bul = Bul::with_url(&server.url);
    let ran = bul.run_with(&["submit", "--query", "x"], &[("BUL_KEY", "bul_1_secret")], "");
    assert_eq!((ran.code, ran.out.as_str()), (0, format!("{ID}  queued\n").as_str()), "{ran:?}");
    let (first, second) = (server.request(), server.request());
    let key =
        |request: &str| request.lines().find(|line| line.starts_with("idempotency-key:")).map(str::to_owned);
    assert!(key(&first).is_some() && key(&first) == key(&second), "{first}\n{second}");
    assert!(first.contains("authorization: Bearer bul_1_secret"), "{first}");
    assert!(!ran.err.contains("secret"));
}

#[test]
fn wrong_fields_named_by_a_server_find_their_file() {
    let body = r#"{"title":"X","status":422,"code":"invalid_job","detail":"1 field is wrong",
        "errors":[{"pointer":"/1/data/total","message":"must be a number"}]}"#;
    let server = Canned::new(vec![answer(422, "application/problem+json", body)]);
    let bul = Bul::with_url(&server.url);
    let jobs = bul.file("jobs.json", r#"[{"query":"a"},{"query":"b"}]"#);
    bul.run(&["submit", &jobs])
        .fails(2, &["jobs.json: /1/data/total: must be a number", "nothing was submitted"]);
}

#[test]
fn sharing_blocks_needs_redis_and_a_real_secret() {
    let bul = Bul::new();
    let short = bul.run_with(&["model", "info"], &[("BUL_MODEL_REMOTE_SECRET", "short")], "");
    short.fails(2, &["model.remote_secret must have 16 characters or more"]);
    let long = bul.run_with(&["model", "info"], &[("BUL_MODEL_REMOTE_SECRET", "sixteen letters!")], "");
    long.fails(2, &["model.remote_secret is set without redis"]);
    assert!(!long.err.contains("sixteen letters!"), "{long:?}");
}
