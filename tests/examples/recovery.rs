//! How long work stands still after a fault: prints one JSON object with the median and the spread of each case.
//!
//! ```text
//! bench/recovery [ROUNDS]        default: 5
//! ```
//!
//! Every role is a process of its own on servers of this machine, leases are those of the defaults, and the servers sync to the
//! disk as they do by default. Nothing is asserted: a busy machine is slow. The goals stand beside the figures.

use std::time::{Duration, Instant};

use bul_harness::PostgresOptions;
use bul_tests::{BrokerKind, Cluster, Servers};
use serde_json::{Value, json};

/// How often the store is asked. It costs a process each time.
const LOOK: Duration = Duration::from_millis(20);
/// After this long a case is given up.
const PATIENCE: Duration = Duration::from_secs(180);
/// The lease that workers have by default, seconds.
const LEASE_S: &str = "30";

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(5, |n| n.parse().expect("a number of rounds"));
    let cases: [(&str, f64, Case); 6] = [
        ("worker killed, its job runs elsewhere", 35.0, |n| worker(BrokerKind::Nats, n)),
        ("scheduler leader killed, what is due is moved", 10.0, leader),
        ("NATS killed, first job after it is back", 3.0, |n| broker(BrokerKind::Nats, n)),
        ("RabbitMQ killed, first job after it is back", 3.0, |n| broker(BrokerKind::Rabbit, n)),
        ("PostgreSQL killed, first job after it is back (NATS)", 3.0, |n| database(BrokerKind::Nats, n)),
        ("PostgreSQL killed, first job after it is back (RabbitMQ)", 3.0, |n| {
            database(BrokerKind::Rabbit, n)
        }),
    ];
    let results: Vec<Value> = cases
        .into_iter()
        .map(|(what, goal_s, case)| {
            let mut times = case(rounds);
            times.sort_by(f64::total_cmp);
            let at = |n: usize| times.get(n).copied();
            let last = times.len().saturating_sub(1);
            let line = json!({"case": what, "goal_s": goal_s, "rounds": times.len(), "median_s": at(last / 2),
                "min_s": at(0), "max_s": at(last)});
            eprintln!("{line}");
            line
        })
        .collect();
    println!("{:#}", json!({"recovery": results}));
}

/// Times of so many rounds, seconds.
type Case = fn(usize) -> Vec<f64>;

fn cluster(kind: BrokerKind) -> Cluster {
    let postgres = PostgresOptions { fsync: true, ..PostgresOptions::default() };
    let mut cluster = Cluster::start_on(kind, Servers { postgres, ..Servers::default() });
    cluster.set("BUL_WORKER_LEASE_S", LEASE_S);
    cluster.role("producer", &["producer"], &[]);
    cluster
}

/// Seconds from `since` until the query gives "t".
fn until(cluster: &Cluster, since: Instant, question: &str) -> f64 {
    while cluster.ask(&format!("SELECT {question}")) != "t" {
        assert!(since.elapsed() < PATIENCE, "{question}: not within {PATIENCE:?}\n{}", cluster.logs());
        std::thread::sleep(LOOK);
    }
    // Rounded: whoever reads it compares seconds.
    (since.elapsed().as_secs_f64() * 1e3).round() / 1e3
}

fn has_completed(count: usize) -> String {
    format!("count(*) >= {count} FROM jobs WHERE state = 'completed'")
}

/// Until a job whose worker was killed in the middle of it is done by another.
fn worker(kind: BrokerKind, rounds: usize) -> Vec<f64> {
    let mut cluster = cluster(kind);
    cluster.role("scheduler", &["scheduler"], &[]);
    let round = |n: usize| {
        cluster.role("slow", &["worker"], &[("BUL_TEST_TOKEN_DELAY_MS", "60000")]);
        cluster.submit(n..n + 1);
        until(&cluster, Instant::now(), "count(*) = 1 FROM jobs WHERE state = 'running'");
        cluster.role("other", &["worker"], &[]);
        cluster.kill("slow");
        let time = until(&cluster, Instant::now(), &has_completed(n + 1));
        cluster.kill("other");
        time
    };
    (0..rounds).map(round).collect()
}

/// Until a job that was due when the leader was killed is done.
fn leader(rounds: usize) -> Vec<f64> {
    let mut cluster = cluster(BrokerKind::Nats);
    cluster.role("worker-1", &["worker"], &[]);
    let names = ["scheduler-1", "scheduler-2"];
    cluster.role(names[0], &["scheduler"], &[]);
    until(&cluster, Instant::now(), "count(*) = 1 FROM leaders");
    cluster.role(names[1], &["scheduler"], &[]);
    let round = |n: usize| {
        let at = cluster.time_in(2);
        cluster.submit_lines(&format!(
            "{{\"query\": \"Later {n}\", \"run_at\": \"{at}\", \"formats\": [\"md\"]}}\n"
        ));
        // The one that leads is the one that was not started anew last.
        cluster.kill(names[n % 2]);
        until(&cluster, Instant::now(), "count(*) = 1 FROM jobs WHERE state = 'waiting' AND due_at <= now()");
        let time = until(&cluster, Instant::now(), &has_completed(n + 1));
        cluster.start_role(names[n % 2]);
        time
    };
    (0..rounds).map(round).collect()
}

/// Until a job that was accepted while the broker was away is done, from the time the broker serves again.
fn broker(kind: BrokerKind, rounds: usize) -> Vec<f64> {
    let mut cluster = cluster(kind);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    let round = |n: usize| {
        cluster.broker.kill();
        cluster.submit(n..n + 1);
        cluster.broker.restart();
        until(&cluster, Instant::now(), &has_completed(n + 1))
    };
    (0..rounds).map(round).collect()
}

/// Until the first of the jobs that waited for the database is done, from the time it serves again.
fn database(kind: BrokerKind, rounds: usize) -> Vec<f64> {
    let mut cluster = cluster(kind);
    cluster.role("scheduler", &["scheduler"], &[]);
    // Slow enough for the jobs to last, with one place so that they wait in the broker.
    let slow = [("BUL_TEST_TOKEN_DELAY_MS", "10"), ("BUL_WORKER_CONCURRENCY", "1")];
    cluster.role("worker-1", &["worker"], &slow);
    let round = |n: usize| {
        cluster.submit(n * 20..n * 20 + 20);
        until(&cluster, Instant::now(), &has_completed(n * 20 + 2));
        cluster.postgres.kill();
        cluster.postgres.restart().expect("PostgreSQL starts again");
        let done: usize =
            cluster.ask("SELECT count(*) FROM jobs WHERE state = 'completed'").parse().expect("a number");
        let time = until(&cluster, Instant::now(), &has_completed(done + 1));
        until(&cluster, Instant::now(), &has_completed(n * 20 + 20));
        time
    };
    (0..rounds).map(round).collect()
}
