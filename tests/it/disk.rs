//! Full disks: under the store, whichever it is, under the broker, and under the cache of texts. What is refused is refused with an error that says
//! "later"; what was accepted is there when there is room again, and nothing of ours is started anew.

use std::time::Duration;

use bul_harness::{NatsOptions, PostgresOptions};
use bul_tests::{
    BrokerKind, Cluster, Server, ServerOptions, Servers, SmallDisk, eventually, metric, model_server,
};

/// Jobs that are tried at most until the disk is full.
const JOBS_MAX: usize = 2_000;

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Text that no compression makes smaller by much.
fn noise(seed: usize, length: usize) -> String {
    let mut state = seed as u64 + 1;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 40) as u8 % 26)
    };
    (0..length).map(|_| letter()).collect()
}

/// A job that takes room, with the two documents that the cluster's tests count.
fn large_job(n: usize) -> String {
    let context = noise(n, 60_000);
    format!(
        "{{\"query\": \"Plan {n}\", \"context\": \"{context}\", \"idempotency_key\": \"plan-{n}\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\"]}}}}"
    )
}

/// The store's disk fills up: submissions are refused with an error that says so, nothing accepted is lost, and when there is
/// room again work goes on without a restart.
#[test]
fn a_full_disk_under_sqlite_refuses_and_recovers() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20]).expect("there is room for the ballast");
    let store = format!("sqlite:{}", disk.path().join("bul.db").display());
    let server = Server::start(ServerOptions::default().with("BUL_STORE", &store).scripted());
    let context = "x".repeat(60_000);
    let submit = |n: usize| {
        let job = format!(
            "{{\"query\": \"Plan {n}\", \"context\": \"{context}\", \"formats\": [\"md\"], \"run_at\": \"2999-01-01T00:00:00Z\", \"idempotency_key\": \"k{n}\"}}"
        );
        server.cli_with_input(&["submit", "-"], &job)
    };
    let mut accepted = 0;
    let refused = loop {
        let ran = submit(accepted);
        if ran.code != 0 {
            break ran;
        }
        accepted += 1;
        assert!(accepted < 1_000, "32 MB never fill up");
    };
    assert!(accepted > 10, "{accepted}");
    assert!(refused.code == 4 || refused.code == 1, "{refused:?}");
    std::fs::remove_file(&ballast).expect("room again");
    assert_eq!(server.ledger()["accepted"], accepted, "what was refused is not there");
    let again = submit(accepted);
    assert_eq!(again.code, 0, "{again:?}");
    server.cli(&["submit", "--query", "Sales plan", "--wait"]).expect(0);
    let ledger = server.ledger();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&(accepted + 2).into(), &1.into()), "{ledger}");
}

/// PostgreSQL's disk fills up while jobs run: refusals say "later", over HTTP and on the command line; the running jobs
/// end once there is room, and so does what was refused and is sent again.
#[test]
fn a_full_disk_under_postgres_refuses_and_recovers() {
    let Some(disk) = SmallDisk::mount(128) else { return };
    let postgres = PostgresOptions { place: Some(disk.path().into()), ..PostgresOptions::default() };
    let mut cluster = Cluster::start_on(BrokerKind::Nats, Servers { postgres, ..Servers::default() });
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.role("worker-1", &["worker"], &[("BUL_TEST_TOKEN_DELAY_MS", "100")]);
    cluster.submit(0..12);
    cluster.wait_for("running", 2);
    disk.fill();
    let mut next = 12;
    let refused = loop {
        let answer = cluster.request("POST", "/v1/jobs", &large_job(next));
        if answer.status != 202 {
            break answer;
        }
        next += 1;
        assert!(next < JOBS_MAX, "the disk never fills up");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.to_ascii_lowercase().contains("\r\nretry-after: "), "{}", refused.head);
    let problem = refused.json();
    assert_eq!(problem["retryable"], true, "{problem}");
    let ran = cluster.try_submit(&large_job(next));
    assert_eq!(ran.code, 4, "{ran:?}");
    // Attempts end, and leases too, while nothing can be written.
    pause(7_000);
    disk.empty();
    cluster.postgres.revive().expect("the server is back");
    eventually("submissions are taken again", || {
        (cluster.request("POST", "/v1/jobs", &large_job(next)).status == 202).then_some(())
    });
    cluster.submit(next + 1..next + 9);
    cluster.assert_exactly_once(next as u64 + 9);
}

/// The disk of a NATS server fills up: jobs are accepted all the same, since the store has them, and reach the workers once
/// there is room. The server itself gives up its streams until it is started again.
#[test]
fn a_full_disk_under_nats_delays_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let nats = NatsOptions { store: Some(disk.path().join("streams")), ..NatsOptions::default() };
    let servers = Servers { nats, ..Servers::default() };
    let mut cluster = Cluster::start_on(BrokerKind::Nats, servers).with_usual_roles();
    cluster.submit(0..20);
    cluster.wait_for("completed", 20);
    disk.fill();
    cluster.submit(20..60);
    eventually("the server has noticed", || {
        cluster.broker.nats().log_text().contains("no space left").then_some(())
    });
    cluster.submit(60..80);
    let meanwhile = cluster.ledger();
    assert_eq!((&meanwhile["accepted"], &meanwhile["dead"]), (&80.into(), &0.into()), "{meanwhile}");
    disk.empty();
    cluster.broker.restart();
    cluster.submit(80..100);
    cluster.assert_exactly_once(100);
}

/// RabbitMQ lets nobody publish while its disk is short. Jobs are accepted meanwhile, and what it holds is worked off.
#[test]
fn a_short_disk_under_rabbitmq_delays_and_loses_nothing() {
    let cluster = Cluster::start_usual(BrokerKind::Rabbit);
    cluster.submit(0..20);
    cluster.wait_for("completed", 20);
    cluster.broker.rabbit().ctl(&["set_disk_free_limit", "100000GB"]).expect("the limit is set");
    cluster.submit(20..60);
    pause(6_000);
    let meanwhile = cluster.ledger();
    assert_eq!((&meanwhile["accepted"], &meanwhile["dead"]), (&60.into(), &0.into()), "{meanwhile}");
    cluster.broker.rabbit().ctl(&["set_disk_free_limit", "50MB"]).expect("the limit is set");
    cluster.submit(60..80);
    cluster.assert_exactly_once(80);
}

/// The disk of the cache of texts is full: no job notices, and when there is room again texts are kept again.
#[test]
fn a_full_disk_under_the_cache_costs_no_job() {
    let Some(disk) = SmallDisk::mount(8) else { return };
    let model = model_server(|_| Ok(r#"{"summary": "Every region keeps a list of its returns."}"#.into()));
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let options = ServerOptions::default()
        .with("BUL_DATA_DIR", &disk.path().join("data").display().to_string())
        .with("BUL_STORE", &format!("sqlite:{}", elsewhere.path().join("bul.db").display()))
        .with("BUL_CACHE_DISK_MIB_MAX", "64")
        .with("BUL_MODEL", &format!("openai+http://127.0.0.1:{model}/v1#any"));
    let server = Server::start(options);
    let schema = r#"{"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"], "additionalProperties": false}"#;
    let mut next = 0;
    // One attempt each: whatever the cache cost would be a dead letter.
    let mut submit = |count: usize| {
        let job = |n| {
            format!(
                "{{\"query\": \"Plan {n}\", \"max_attempts\": 1, \"formats\": [\"md\"], \"response_schema\": {schema}}}\n"
            )
        };
        let jobs: String = (next..next + count).map(job).collect();
        next += count;
        let path = elsewhere.path().join("jobs.jsonl");
        std::fs::write(&path, jobs).expect("a file can be written");
        server.cli(&["submit", &path.display().to_string()]).expect(0);
        let total = server.settle();
        assert_eq!(total["completed"], next, "{total}");
    };
    let writes = |outcome: &str| {
        let name = format!("bul_cache_writes_total{{outcome=\"{outcome}\",tier=\"disk\"}}");
        metric(server.port(), &name).unwrap_or(0)
    };
    submit(4);
    eventually("texts are kept on disk", || (writes("kept") > 0).then_some(()));
    disk.fill();
    submit(12);
    eventually("they are not any more", || (writes("dropped") > 0).then_some(()));
    let kept = writes("kept");
    disk.empty();
    eventually("they are again", || {
        submit(2);
        (writes("kept") > kept).then_some(())
    });
}
