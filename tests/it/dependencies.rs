//! What a job needs beside store and broker fails: the model's server, and Redis. Neither costs an attempt or a job; each
//! test ends in the conservation equation. What one process finds out by its calls, others know by way of Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bul_harness::{Fault, Proxy, Redis, free_port};
use bul_tests::{BrokerKind, Cluster, eventually, metric, model_server};

const ANSWER: &str = r#"{"summary": "Every region keeps a list of its returns."}"#;
const SCHEMA: &str = r#"{"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"], "additionalProperties": false}"#;
/// Jobs of a worker at once, by default.
const SLOTS: usize = 4;

/// Queries that are answered by a value, so that the model's part is as plain as can be.
fn submit(cluster: &Cluster, range: std::ops::Range<usize>, attempts_max: u32) {
    let jobs: String = range
        .map(|n| format!("{{\"query\": \"Plan {n}\", \"max_attempts\": {attempts_max}, \"formats\": [\"md\", \"json\"], \"response_schema\": {SCHEMA}}}\n"))
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
    assert!((4..=2 * SLOTS + 8).contains(&asked), "the model was asked {asked} times");

    down.store(false, Ordering::SeqCst);
    cluster.assert_exactly_once(JOBS as u64);
    let spent = cluster.ask("SELECT max(failures), max(crashes), max(max_attempts) FROM jobs");
    assert_eq!(spent, "0|0|1", "{}", cluster.logs());
    eventually("doctor finds it closed", || doctor().contains("all closed").then_some(()));
    assert_eq!(metric(metrics, "bul_engine_breaker_state"), Some(0));
}

/// A job alone in its worker spends nothing either, whether its server refuses connections or answers 503.
#[test]
fn a_job_alone_with_a_model_that_is_down_spends_no_attempt() {
    let nobody = free_port();
    let failing = Arc::new(AtomicBool::new(true));
    let is_failing = failing.clone();
    let model =
        model_server(move |_| if is_failing.load(Ordering::SeqCst) { Err(503) } else { Ok(ANSWER.into()) });
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    submit(&cluster, 0..1, 1);
    for (round, port) in [nobody, model].into_iter().enumerate() {
        let address = format!("openai+http://127.0.0.1:{port}/v1#any");
        let name = format!("worker-{round}");
        cluster.role(&name, &["worker"], &[("BUL_MODEL", &address)]);
        cluster.wait_for_line(&name, "handed back unfinished");
        cluster.wait_for_line(&name, "no work is pulled");
        if round == 0 {
            cluster.kill(&name);
        }
    }
    failing.store(false, Ordering::SeqCst);
    cluster.assert_exactly_once(1);
    assert_eq!(cluster.ask("SELECT failures, max_attempts FROM jobs"), "0|1", "{}", cluster.logs());
}

/// A job over which the model fails runs out of attempts where others are answered.
#[test]
fn a_job_that_makes_the_model_fail_runs_out_of_attempts() {
    let model =
        model_server(|body| if body.to_string().contains("Plan 0") { Err(500) } else { Ok(ANSWER.into()) });
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.set("BUL_MODEL", &format!("openai+http://127.0.0.1:{model}/v1#any"));
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    submit(&cluster, 0..1, 2);
    let mut others = 0;
    eventually("the job is a dead letter", || {
        others += 1;
        submit(&cluster, others..others + 1, 2);
        (cluster.ledger()["dead"] == 1).then_some(())
    });
    let ledger = cluster.settle();
    assert_eq!((&ledger["dead"], &ledger["completed"]), (&1.into(), &others.into()), "{}", cluster.logs());
}

/// Two workers and one Redis: the model fails for the first, and the second, which has not asked it yet, knows. One of them
/// probes while the other waits; when the model is back both find it so.
#[test]
fn what_one_worker_finds_down_the_other_does_not_try_and_one_probes_for_both() {
    let redis = Redis::start().expect("Redis starts");
    let (down, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (holds, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_down, asks, keeps, keeping) = (down.clone(), asked.clone(), holds.clone(), held.clone());
    let model = model_server(move |_| {
        asks.fetch_add(1, Ordering::SeqCst);
        // A probe that takes its time: the server answers one after the other, so a second would only queue.
        if keeps.load(Ordering::SeqCst) {
            keeping.fetch_add(1, Ordering::SeqCst);
            while keeps.load(Ordering::SeqCst) {
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
        }
        if is_down.load(Ordering::SeqCst) { Err(503) } else { Ok(ANSWER.into()) }
    });
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.set("BUL_MODEL", &format!("openai+http://127.0.0.1:{model}/v1#any"));
    cluster.set("BUL_REDIS", &redis.url());
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    let ports = [free_port(), free_port()];
    for (port, (name, lanes)) in ports.iter().zip([("worker-1", "high"), ("worker-2", "low")]) {
        let metrics = format!("127.0.0.1:{port}");
        cluster.role(name, &["worker", "--lanes", lanes], &[("BUL_METRICS_LISTEN", &metrics)]);
    }
    let shared = |n: usize| metric(ports[n], "bul_breaker_state{dependency=\"model_shared\"}");
    lane(&cluster, "high", 0..1);
    eventually("both are open", || (shared(0) == Some(2) && shared(1) == Some(2)).then_some(()));
    lane(&cluster, "low", 1..2);
    // Both have a job now; whoever may probe is held, and the other keeps off.
    holds.store(true, Ordering::SeqCst);
    eventually("a probe", || (held.load(Ordering::SeqCst) == 1).then_some(()));
    eventually("one probes, one waits", || {
        matches!((shared(0), shared(1)), (Some(1), Some(2)) | (Some(2), Some(1))).then_some(())
    });
    let seen = asked.load(Ordering::SeqCst);
    down.store(false, Ordering::SeqCst);
    holds.store(false, Ordering::SeqCst);
    assert_eq!(asked.load(Ordering::SeqCst), seen);
    // Two successes close it, and the other's own two: each has work for them.
    lane(&cluster, "high", 2..5);
    lane(&cluster, "low", 5..8);
    cluster.assert_exactly_once(8);
    eventually("both are closed", || (shared(0) == Some(0) && shared(1) == Some(0)).then_some(()));
    assert_eq!(cluster.ask("SELECT max(failures) FROM jobs"), "0", "{}", cluster.logs());
}

/// Queries for one lane with one attempt each.
fn lane(cluster: &Cluster, lane: &str, range: std::ops::Range<usize>) {
    let jobs: String = range
        .map(|n| format!("{{\"query\": \"Plan {n}\", \"priority\": \"{lane}\", \"max_attempts\": 1, \"formats\": [\"md\", \"json\"], \"response_schema\": {SCHEMA}}}\n"))
        .collect();
    cluster.submit_lines(&jobs);
}

/// A worker is cut off from the store, another loses Redis: doctor and metrics say so, and only the first pulls nothing.
#[test]
fn doctor_and_metrics_name_the_store_and_redis() {
    let mut redis = Redis::start().expect("Redis starts");
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.set("BUL_REDIS", &redis.url());
    let model = model_server(|_| Ok(ANSWER.into()));
    cluster.set("BUL_MODEL", &format!("openai+http://127.0.0.1:{model}/v1#any"));
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    let network = Proxy::start(cluster.postgres.port()).expect("a proxy");
    let direct = format!(":{}", cluster.postgres.port());
    let store = cluster.postgres.url().replacen(&direct, &format!(":{}", network.port()), 1);
    let metrics = free_port();
    let listens = format!("127.0.0.1:{metrics}");
    cluster.role("worker-1", &["worker"], &[("BUL_STORE", &store), ("BUL_METRICS_LISTEN", &listens)]);
    let doctor = || cluster.cli(&["doctor"]).out;
    let state = |of: &str| metric(metrics, &format!("bul_breaker_state{{dependency=\"{of}\"}}"));
    eventually("all are closed", || doctor().contains("all closed: model, store, redis").then_some(()));

    network.set(Fault::Cut);
    submit(&cluster, 0..8, 5);
    eventually("doctor names the store", || doctor().contains("store is down for process-").then_some(()));
    assert!(doctor().contains("pull no jobs"), "{}", doctor());
    eventually("so does the metric", || (state("store") == Some(2)).then_some(()));
    network.set(Fault::None);
    cluster.wait_for("completed", 8);
    eventually("it is closed again", || doctor().contains("all closed").then_some(()));
    assert_eq!(state("store"), Some(0));

    redis.kill();
    submit(&cluster, 8..16, 5);
    eventually("doctor names Redis", || {
        let said = doctor();
        (said.contains("redis is down for process-") && said.contains("jobs go on")).then_some(())
    });
    assert_ne!(state("redis"), Some(0));
    let id = cluster.ask("SELECT min(id::text) FROM jobs");
    assert!(!cluster.cli(&["jobs", "show", &id]).expect(0).out.contains("held back"));
    redis.restart().expect("Redis starts again");
    eventually("Redis is found back", || doctor().contains("all closed").then_some(()));
    cluster.assert_exactly_once(16);
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
