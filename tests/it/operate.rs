//! The operator's day: cancel, schedules, dead letters, metrics.

use std::time::Duration;

use bul_tests::{Server, ServerOptions, request};

#[test]
fn cancelling_reaches_a_running_generation() {
    let server = Server::start(ServerOptions::default().with("BUL_TEST_TOKEN_DELAY_MS", "200").scripted());
    let ran = server.cli(&["submit", "--query", "Handbook for new staff", "-o", "json"]).expect(0);
    let id = ran.out.split('"').find(|part| part.len() == 36).expect("an id").to_owned();
    let state = || {
        server.cli(&["jobs", "show", &id, "-o", "json"]).expect(0).json()["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    while state() != "running" {
        server.let_work(Duration::from_millis(50));
    }
    server.cli(&["jobs", "cancel", &id]).expect(0);
    let total = server.settle();
    assert_eq!((total["cancelled"].as_u64(), total["completed"].as_u64()), (Some(1), Some(0)), "{total}");
}

#[test]
fn delayed_jobs_wait_and_schedules_fire_once() {
    let server = Server::start(ServerOptions::default().scripted());
    server
        .cli_with_input(&["submit", "-"], "{\"query\": \"Later\", \"run_at\": \"2999-01-01T00:00:00Z\"}")
        .expect(0);
    assert_eq!(server.ledger()["waiting"], 1);

    let job = "{\"query\": \"Weekly sales report\", \"formats\": [\"md\"]}";
    let add = ["schedule", "add", "monday", "--cron", "0 9 * * MON", "--timezone", "Europe/Berlin", "-"];
    server.cli_with_input(&add, job).expect(0);
    let next = server.cli(&["schedule", "next", "monday", "--count", "3", "-o", "json"]).expect(0).json();
    assert_eq!(next.as_array().or_else(|| next["next"].as_array()).map(Vec::len), Some(3), "{next}");
    assert_ne!(server.cli_with_input(&add, job).code, 0, "a name exists once");
    server.cli(&["schedule", "run-now", "monday"]).expect(0);
    while server.ledger()["completed"] != 1 {
        server.let_work(Duration::from_millis(100));
    }
    server.cli(&["schedule", "pause", "monday"]).expect(0);
    server.cli(&["schedule", "remove", "monday"]).expect(0);
    server.cli(&["schedule", "remove", "monday"]).expect(3);
    assert_eq!(server.ledger()["accepted"], 2);
}

/// A tenant that may fill a hundredth of a small cache has no room for a document, and is told so.
#[test]
fn the_share_of_a_tenant_in_the_cache_takes_effect() {
    let small = || ServerOptions::default().with("BUL_MODEL_KV_MIB_MAX", "16");
    let submit = ["submit", "--query", "Sales plan", "--format", "md"];
    let roomy = Server::start(small().with("BUL_MODEL_TENANT_CAP_PERCENT", "50"));
    roomy.cli(&submit).expect(0);
    assert_eq!(roomy.settle()["completed"], 1);
    let tight = Server::start(small().with("BUL_MODEL_TENANTS", "{default = {cap_percent = 1}}"));
    tight.cli(&submit).expect(0);
    assert_eq!(tight.settle()["dead"], 1);
    let letters = tight.cli(&["dlq", "list", "-o", "json"]).expect(0).out;
    assert!(letters.contains("its tenant may have"), "{letters}");
}

#[test]
fn dead_letters_are_listed_edited_replayed_and_purged() {
    // A model that refuses every prompt; one that is away would only make the jobs wait for it.
    let model = format!("openai+http://127.0.0.1:{}/v1#none", bul_tests::refusing_server(400));
    let mut server = Server::start(ServerOptions::default().with("BUL_MODEL", &model));
    for n in 0..3 {
        let job = format!("{{\"query\": \"Plan {n}\", \"max_attempts\": 1, \"formats\": [\"md\"]}}");
        server.cli_with_input(&["submit", "-"], &job).expect(0);
    }
    assert_eq!(server.settle()["dead"], 3);
    let list = server.cli(&["dlq", "list", "-o", "json"]).expect(0).json();
    let letters =
        list.as_array().cloned().or_else(|| list["dead_letters"].as_array().cloned()).expect("a list");
    assert_eq!(letters.len(), 3);
    let id = |n: usize| letters[n]["id"].as_str().unwrap().to_owned();
    assert!(server.cli(&["dlq", "show", &id(0)]).expect(0).out.contains("model"));
    let dry = server.cli(&["dlq", "replay", "--all", "--dry-run", "-o", "json"]).expect(0).json();
    assert_eq!(dry["matched"], 3, "{dry}");
    assert_eq!(server.ledger()["dead"], 3, "a dry run changes nothing");
    let look = ["dlq", "edit", &id(0), "--set", "query=Plan zero", "--dry-run"];
    assert!(server.cli(&look).expect(0).out.contains("+  \"query\": \"Plan zero\""));
    assert_eq!(server.cli(&["dlq", "audit", "-o", "json"]).expect(0).json(), serde_json::json!([]));
    let edit = server.cli(&["dlq", "edit", &id(0), "--set", "query=Plan zero", "--yes"]).expect(0);
    assert!(edit.out.contains("Plan zero") || edit.err.contains("Plan zero"), "{edit:?}");
    server.cli(&["dlq", "purge", &id(2), "--yes"]).expect(0);

    server.kill();
    server = restarted_with_scripted(server);
    server
        .cli(&[
            "dlq",
            "replay",
            "--all",
            "--rate",
            "50/s",
            "--set",
            "metadata.why=repaired",
            "--yes",
            "--force",
        ])
        .expect(0);
    let total = server.settle();
    assert_eq!((total["completed"].as_u64(), total["dead"].as_u64()), (Some(2), Some(1)), "{total}");
    let shown = server.cli(&["jobs", "show", &id(0), "-o", "json"]).expect(0).json();
    assert_eq!(shown["job"]["query"], "Plan zero", "the replayed job keeps its id");
    assert_eq!(shown["job"]["metadata"]["why"], "repaired");
    let audit = server.cli(&["dlq", "audit", "-o", "json"]).expect(0).json();
    let count = |action: &str| audit.as_array().unwrap().iter().filter(|l| l["action"] == action).count();
    assert_eq!((count("dlq.edit"), count("dlq.replay"), count("dlq.purge")), (3, 2, 1), "{audit}");
    let forced = |line: &&serde_json::Value| {
        line["detail"].as_str().is_some_and(|detail| detail.starts_with("forced"))
    };
    let forced: Vec<_> =
        audit.as_array().unwrap().iter().filter(forced).map(|line| &line["action"]).collect();
    assert_eq!(forced, ["dlq.replay"; 2], "{audit}");
}

fn restarted_with_scripted(server: Server) -> Server {
    let mut server = server.with_environment("BUL_MODEL", "scripted");
    server.restart();
    server
}

#[test]
fn roles_serve_health_and_metrics() {
    let server = Server::start(ServerOptions::default().scripted());
    server.cli(&["submit", "--query", "Sales plan", "--wait"]).expect(0);
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(request(server.port(), "GET", path, &[], b"").status, 200, "{path}");
    }
    let metrics = String::from_utf8(request(server.port(), "GET", "/metrics", &[], b"").body).unwrap();
    for name in ["bul_attempts_total", "bul_jobs", "bul_scheduler_leader 1", "bul_http_requests_total"] {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    let doctor = server.cli(&["doctor"]).expect(0);
    assert!(doctor.out.contains("sqlite") && doctor.out.contains("embedded"), "{}", doctor.out);
    server.cli(&["config", "check"]).expect(0);
    server.cli(&["template", "list"]).expect(0);
    server.cli(&["model", "info"]).expect(0);
}

/// The value of a line of `/metrics`; 0 before there is one.
fn metric(server: &Server, name: &str) -> i64 {
    bul_tests::metric(server.port(), name).unwrap_or(0)
}

/// Jobs of two kinds wait when the worker starts: the engine is told of all of them, and not only of the one in hand.
#[test]
fn the_engine_is_told_what_waits_in_the_queue() {
    let options = ServerOptions::default()
        .with("BUL_WORKER_CONCURRENCY", "1")
        .with("BUL_TEST_TOKEN_DELAY_MS", "60000")
        .scripted();
    let mut server = Server::start(options);
    let jobs: String = [("sales", "plan"), ("legal", "memo")]
        .iter()
        .flat_map(|(area, kind)| {
            (0..50).map(move |n| {
                format!(
                    "{{\"query\": \"Plan {n}\", \"business_area\": \"{area}\", \"doc_type\": \"{kind}\", \"data\": {{\"sections\": [\"Scope\", \"Costs\", \"Risks\"]}}}}\n"
                )
            })
        })
        .collect();
    server.cli_with_input(&["submit", "-"], &jobs).expect(0);
    let backlog = "bul_worker_forecast_requests{of=\"backlog\"}";
    assert_eq!(metric(&server, backlog), 0, "the scripted model has no use for it");
    server.kill();
    server = server.with_environment("BUL_MODEL", "");
    server.restart();
    let seen = || [backlog, "bul_engine_forecast_prefixes"].map(|name| metric(&server, name));
    // Three texts of each of a hundred documents, but for those that are done meanwhile.
    let end = std::time::Instant::now() + Duration::from_secs(120);
    while !matches!(seen(), [waiting, prefixes] if waiting > 150 && prefixes >= 2) {
        assert!(std::time::Instant::now() < end, "{:?}", seen());
        server.let_work(Duration::from_millis(50));
    }
}
