//! What has been kept long enough is removed by the scheduler's leader while jobs run, and the ledger keeps its totals.

use std::time::{Duration, Instant};

use bul_harness::PostgresOptions;
use bul_tests::{BrokerKind, Clock, Cluster, Server, ServerOptions, Servers, request, sqlite};

const DAY_S: i64 = 24 * 3600;

/// An old job among young ones: it goes, is still counted, and its key makes a new job.
#[test]
fn old_jobs_leave_postgres_and_stay_in_the_ledger() {
    let clock = Clock::ahead(0);
    let postgres = PostgresOptions { environment: clock.environment(), ..PostgresOptions::default() };
    let mut cluster = Cluster::start_on(BrokerKind::Nats, Servers { postgres, ..Servers::default() });
    cluster.role("producer", &["producer"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    cluster.submit(0..600);
    cluster.assert_exactly_once(600);
    cluster.submit_lines("{\"query\": \"For later\", \"run_at\": \"2999-01-01T00:00:00Z\"}\n");
    clock.set(40 * DAY_S);
    // Every process asks for the database's time every ten seconds: what they write from now on is of today.
    std::thread::sleep(Duration::from_secs(12));
    let keep = [("BUL_RETENTION_COMPLETED_DAYS", "30"), ("BUL_RETENTION_CANCELLED_DAYS", "30")];
    cluster.role("scheduler", &["scheduler"], &keep);
    cluster.role("scheduler-2", &["scheduler"], &keep);
    cluster.submit(600..640);
    let end = Instant::now() + Duration::from_secs(90);
    while cluster.ask("SELECT count(*) FROM jobs WHERE accepted_at < now() - interval '35 days'") != "1" {
        assert!(Instant::now() < end, "old jobs are still there: {}\n{}", cluster.ledger(), cluster.logs());
        cluster.submit(640..641);
        std::thread::sleep(Duration::from_millis(200));
    }
    cluster.wait_for("completed", 641);
    let ledger = cluster.ledger();
    let counts = ["accepted", "completed", "waiting"].map(|state| ledger[state].as_u64());
    assert_eq!(counts, [Some(642), Some(641), Some(1)], "{ledger}");
    assert_eq!(cluster.ask("SELECT count(*), count(DISTINCT job) FROM documents"), "82|41");
    // Its key is free again: what is sent under it is a new job.
    cluster.submit(0..1);
    cluster.wait_for("completed", 642);
    assert_eq!(cluster.ledger()["accepted"], 643);
}

/// The same in one process with SQLite; documents go before their jobs, and the metric tells.
#[test]
fn old_documents_leave_sqlite_before_their_jobs() {
    let clock = Clock::ahead(0);
    let mut options = ServerOptions::default()
        .scripted()
        .with("BUL_RETENTION_COMPLETED_DAYS", "30")
        .with("BUL_RETENTION_DOCUMENTS_DAYS", "7");
    options.environment.extend(clock.environment());
    let mut server = Server::start(options);
    let jobs: String =
        (0..300).map(|n| format!("{{\"query\": \"Plan {n}\", \"formats\": [\"md\"]}}\n")).collect();
    server.cli_with_input(&["submit", "-"], &jobs).expect(0);
    assert_eq!(server.settle()["completed"], 300);
    let documents = || sqlite(&server.database(), "SELECT count(*) FROM documents")[0].clone();
    assert_eq!(documents(), "300");
    for (days, query, left) in
        [(10, "SELECT count(*) FROM documents", "1"), (39, "SELECT count(*) FROM jobs", "2")]
    {
        server.kill();
        clock.set(days * DAY_S);
        server.restart();
        server.cli(&["submit", "--query", "Sales plan", "--format", "md", "--wait"]).expect(0);
        let end = Instant::now() + Duration::from_secs(60);
        while sqlite(&server.database(), query)[0] != left {
            assert!(
                Instant::now() < end,
                "{:?} are left, {left} expected",
                sqlite(&server.database(), query)
            );
            server.let_work(Duration::from_millis(200));
        }
    }
    let ledger = server.ledger();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&302.into(), &302.into()), "{ledger}");
    let metrics = String::from_utf8(request(server.port(), "GET", "/metrics", &[], b"").body).expect("text");
    assert!(metrics.contains("bul_pruned_total{what=\"completed\"} 300"), "{metrics}");
}
