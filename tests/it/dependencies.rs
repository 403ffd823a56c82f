//! What a job needs beside store and broker fails: the model's server, and Redis. Neither costs an attempt or a job; each
//! test ends in the conservation equation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bul_harness::{Redis, free_port};
use bul_tests::{BrokerKind, Cluster, eventually, metric, model_server};

const ANSWER: &str = r#"{"summary": "Every region keeps a list of its returns."}"#;
/// Jobs of a worker at once, by default.
const SLOTS: usize = 4;

/// Queries that are answered by a value, so that the model's part is as plain as can be.
fn submit(cluster: &Cluster, range: std::ops::Range<usize>, attempts_max: u32) {
    let schema = r#"{"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"], "additionalProperties": false}"#;
    let jobs: String = range
        .map(|n| format!("{{\"query\": \"Plan {n}\", \"max_attempts\": {attempts_max}, \"formats\": [\"md\", \"json\"], \"response_schema\": {schema}}}\n"))
        .collect();
    cluster.submit_lines(&jobs);
}

/// The server answers 503: the breaker opens, the worker pulls nothing, doctor, job and metrics say why, and once the server
/// is back all jobs are done with the one attempt they have.
#[test]
fn a_model_that_is_down_holds_work_back_and_spends_no_attempt() {
    const JOBS: usize = 24;
    let (down, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (is_down, asks) = (down.clone(), asked.clone());
    let model = model_server(move |_| {
        asks.fetch_add(1, Ordering::SeqCst);
        if is_down.load(Ordering::SeqCst) { Err(503) } else { Ok(ANSWER.into()) }
    });
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.set("BUL_MODEL", &format!("openai+http://127.0.0.1:{model}/v1#any"));
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    // One attempt each: whatever is spent is a dead letter.
    submit(&cluster, 0..JOBS, 1);
    let metrics = free_port();
    cluster.role("worker-1", &["worker"], &[("BUL_METRICS_LISTEN", &format!("127.0.0.1:{metrics}"))]);
    cluster.wait_for_line("worker-1", "no work is pulled");

    let doctor = || cluster.cli(&["doctor"]).out;
    eventually("doctor names the breaker", || doctor().contains("model is down for").then_some(()));
    eventually("the breaker is open", || {
        (metric(metrics, "bul_engine_breaker_state") == Some(2)).then_some(())
    });
    let id = cluster.ask("SELECT id FROM jobs WHERE state IN ('queued', 'waiting') LIMIT 1");
    eventually("the job says why it waits", || {
        let shown = cluster.cli(&["jobs", "show", &id]).expect(0).out;
        shown.contains("work is held back: model is down for").then_some(())
    });
    let ledger = cluster.ledger();
    assert_eq!((&ledger["completed"], &ledger["dead"]), (&0.into(), &0.into()), "{ledger}");
    // Those in hand when it opened, their second tries, and a probe now and then; never the whole queue.
    let asked = asked.load(Ordering::SeqCst);
    assert!((5..=2 * SLOTS + 8).contains(&asked), "the model was asked {asked} times");

    down.store(false, Ordering::SeqCst);
    cluster.assert_exactly_once(JOBS as u64);
    let spent = cluster.ask("SELECT max(failures), max(crashes), max(max_attempts) FROM jobs");
    assert_eq!(spent, "0|0|1", "{}", cluster.logs());
    eventually("doctor finds it closed", || doctor().contains("all closed").then_some(()));
    assert_eq!(metric(metrics, "bul_engine_breaker_state"), Some(0));
}

/// Redis forgets everything, dies, comes back empty and stands still while two workers share texts and a breaker over it.
#[test]
fn redis_is_flushed_killed_and_frozen_and_no_job_notices() {
    let mut redis = Redis::start().expect("Redis starts");
    let model = model_server(|_| Ok(ANSWER.into()));
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.set("BUL_MODEL", &format!("openai+http://127.0.0.1:{model}/v1#any"));
    cluster.set("BUL_REDIS", &redis.url());
    let mut cluster = cluster.with_usual_roles();
    let is_used = |redis: &Redis| {
        eventually("a text is kept in Redis", || {
            (redis.cli(&["DBSIZE"]).expect("Redis answers") != "0").then_some(())
        });
    };
    submit(&cluster, 0..20, 5);
    cluster.wait_for("completed", 20);
    is_used(&redis);

    submit(&cluster, 20..40, 5);
    redis.flush().expect("flushed");
    submit(&cluster, 40..60, 5);
    cluster.wait_for("completed", 60);
    is_used(&redis);

    submit(&cluster, 60..80, 5);
    redis.kill();
    submit(&cluster, 80..100, 5);
    cluster.wait_for("completed", 100);
    let doctor = cluster.cli(&["doctor"]);
    assert!(doctor.code != 0 && doctor.out.contains("redis"), "{doctor:?}");
    redis.restart().expect("Redis starts again");
    // Links look again after a pause of their own: jobs go on until one has found it.
    let mut next = 100;
    eventually("Redis is used again", || {
        submit(&cluster, next..next + 4, 5);
        next += 4;
        cluster.wait_for("completed", next as u64);
        (redis.cli(&["DBSIZE"]).expect("Redis answers") != "0").then_some(())
    });
    cluster.cli(&["doctor"]).expect(0);

    submit(&cluster, next..next + 20, 5);
    redis.freeze().expect("frozen");
    submit(&cluster, next + 20..next + 40, 5);
    cluster.kill("worker-1");
    cluster.start_role("worker-1");
    cluster.wait_for("completed", next as u64 + 40);
    redis.thaw().expect("thawed");
    submit(&cluster, next + 40..next + 60, 5);
    cluster.assert_exactly_once(next as u64 + 60);
    assert_eq!(cluster.ask("SELECT max(failures) FROM jobs"), "0", "Redis cost an attempt");
}
