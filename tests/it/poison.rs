//! Poison: bodies that are no jobs, over HTTP and straight through each broker, and messages that come ten times. Each is
//! refused with an error that says why, or kept as a dead letter with its very bytes; the good jobs around them are done
//! once. Each test ends in the conservation equation.

use std::path::Path;

use bul_harness::NatsOptions;
use bul_tests::{BrokerKind, Cluster, Servers, eventually, installed, repository, request, run};

/// One more byte than the 16 MiB that a generous limit would allow.
const HUGE_BYTES: usize = (16 << 20) + 1;
const LEVELS: usize = 100_000;

/// Poison by name.
fn poisons() -> Vec<(&'static str, Vec<u8>)> {
    let deep = format!("{{\"query\": \"x\", \"data\": {}1{}}}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    let (open, close) = ("{\"query\": \"x\", \"context\": \"", "\"}");
    let huge = format!("{open}{}{close}", "a".repeat(HUGE_BYTES - open.len() - close.len()));
    assert_eq!(huge.len(), HUGE_BYTES);
    vec![
        ("depth", deep.into_bytes()),
        ("array bomb", "[".repeat(LEVELS).into_bytes()),
        ("bad UTF-8", b"{\"query\": \"a\xff\xfe\xc0\xafb\"}".to_vec()),
        ("no JSON", b"\x00\x01\x02\x03\x04".to_vec()),
        ("broken off", b"{\"query\": \"Plan".to_vec()),
        ("wrong type", b"{\"query\": 7}".to_vec()),
        ("unknown field", b"{\"query\": \"x\", \"colour\": \"red\"}".to_vec()),
        ("nothing to write", b"{\"formats\": [\"md\"]}".to_vec()),
        ("huge", huge.into_bytes()),
    ]
}

#[test]
fn poison_over_http_is_refused_with_a_reason() {
    let cluster = Cluster::start_usual(BrokerKind::Nats);
    let authorization = cluster.authorization();
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let mut next = 0;
    for (name, body) in poisons() {
        cluster.submit(next..next + 4);
        next += 4;
        for path in ["/v1/jobs", "/v1/jobs/batch", "/v1/ingest/generic"] {
            let answer = request(cluster.http_port(), "POST", path, &headers, &body);
            assert!([400, 413, 422].contains(&answer.status), "{name} to {path}: {answer:?}");
            let problem = answer.json();
            let code = problem["code"].as_str().expect("a code");
            assert!(!code.is_empty() && problem["retryable"] != true, "{name} to {path}: {problem}");
            let said = problem.to_string();
            assert!(said.len() < 4_000, "{name} to {path}: {said:.200}");
        }
    }
    let huge = vec![b'a'; HUGE_BYTES];
    let answer = request(cluster.http_port(), "POST", "/v1/jobs", &headers, &huge);
    assert_eq!((answer.status, &answer.json()["code"]), (413, &"body_too_large".into()));
    cluster.assert_exactly_once(next as u64);
}

/// The program that publishes bytes as they are.
fn publish(cluster: &Cluster, kind: BrokerKind, file: &Path) {
    let script = if kind.is_nats() { "nats_bytes.py" } else { "rabbitmq_bytes.py" };
    let script = repository().join("tests/it/clients").join(script).display().to_string();
    let text = format!("@{}", file.display());
    run(&installed("python/bin/python"), &[&script, &cluster.broker_url(), "normal.default", &text]);
}

fn poison_on_the_broker(kind: BrokerKind) {
    // By default NATS refuses at its door what is larger than a megabyte.
    let nats = NatsOptions { lines: "max_payload: 33554432\n".into(), ..NatsOptions::default() };
    let cluster = Cluster::start_on(kind, Servers { nats, ..Servers::default() }).with_usual_roles();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut next = 0;
    let mut sums = Vec::new();
    for (name, body) in poisons() {
        cluster.submit(next..next + 4);
        next += 4;
        let file = folder.path().join(name.replace(' ', "-"));
        std::fs::write(&file, &body).expect("a file can be written");
        publish(&cluster, kind, &file);
        let sum = run("md5sum", &[&file.display().to_string()]);
        sums.push(sum.split(' ').next().expect("a sum").to_owned());
    }
    cluster.wait_for("dead", sums.len() as u64);
    cluster.submit(next..next + 4);
    next += 4;
    let ledger = cluster.settle();
    let counts = ["accepted", "completed", "dead"].map(|state| ledger[state].as_u64().expect("a number"));
    assert_eq!(counts, [next as u64 + sums.len() as u64, next as u64, sums.len() as u64], "{ledger}");
    sums.sort();
    let kept = cluster.ask(
        "SELECT string_agg(md5(raw), ' ' ORDER BY md5(raw) COLLATE \"C\") FROM jobs WHERE state = 'dead'",
    );
    assert_eq!(kept, sums.join(" "), "a dead letter has other bytes than came");
    assert_eq!(
        cluster.ask("SELECT count(*) FROM jobs WHERE state = 'dead' AND (dead_reason <> 'unreadable' OR failure_message = '')"),
        "0"
    );
    let documents = cluster.ask("SELECT count(*), count(DISTINCT job) FROM documents");
    assert_eq!(documents, format!("{}|{next}", next * 2));
    // An operator can look at every one of them, whatever is in it.
    let listed = cluster.cli(&["dlq", "list", "-o", "json"]).expect(0).json();
    let letters = listed.as_array().or_else(|| listed["dead_letters"].as_array()).expect("a list").clone();
    assert_eq!(letters.len(), sums.len());
    for letter in letters {
        cluster.cli(&["dlq", "show", letter["id"].as_str().expect("an id")]).expect(0);
    }
}

#[test]
fn poison_on_nats_becomes_dead_letters_with_its_bytes() {
    poison_on_the_broker(BrokerKind::Nats);
}

#[test]
fn poison_on_rabbitmq_becomes_dead_letters_with_its_bytes() {
    poison_on_the_broker(BrokerKind::Rabbit);
}

/// Nothing waits at the broker and nothing is in workers' hands.
fn wait_for_empty_lanes(cluster: &Cluster) {
    eventually("the broker is empty", || {
        let doctor = cluster.cli(&["doctor"]).out;
        doctor.contains("0 messages waiting, 0 in workers' hands").then_some(())
    });
}

/// Every message of ours comes eleven times in no order, before its job has run and again when it is done.
fn messages_come_ten_times(kind: BrokerKind) {
    // Two messages of sixteen and four jobs, and five of one.
    const TOGETHER: usize = 20;
    const JOBS: usize = TOGETHER + 5;
    const MESSAGES: usize = 2 + 5;
    let mut cluster = Cluster::start(kind);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.submit(0..TOGETHER);
    cluster.submit(TOGETHER..JOBS);
    let script = if kind.is_nats() { "repeat_nats.py" } else { "repeat_rabbitmq.py" };
    let script = repository().join("tests/it/clients").join(script).display().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("messages.json").display().to_string();
    let repeat = |cluster: &Cluster| {
        let arguments = [script.as_str(), &cluster.broker_url(), &file, &MESSAGES.to_string()];
        run(&installed("python/bin/python"), &arguments);
    };
    let assert_one_attempt_each = |cluster: &Cluster, jobs: usize| {
        cluster.assert_exactly_once(jobs as u64);
        let attempts = "SELECT min(attempt), max(attempt), (SELECT count(*) FROM attempts) FROM jobs";
        assert_eq!(cluster.ask(attempts), "1|1|0", "a job was begun twice\n{}", cluster.logs());
    };
    repeat(&cluster);
    cluster.role("worker-1", &["worker"], &[]);
    cluster.role("worker-2", &["worker"], &[]);
    cluster.submit(JOBS..JOBS + 10);
    cluster.wait_for("completed", JOBS as u64 + 10);
    wait_for_empty_lanes(&cluster);
    assert_one_attempt_each(&cluster, JOBS + 10);
    repeat(&cluster);
    cluster.submit(JOBS + 10..JOBS + 20);
    cluster.wait_for("completed", JOBS as u64 + 20);
    wait_for_empty_lanes(&cluster);
    assert_one_attempt_each(&cluster, JOBS + 20);
}

#[test]
fn messages_that_come_ten_times_are_one_job_each_on_nats() {
    messages_come_ten_times(BrokerKind::Nats);
}

#[test]
fn messages_that_come_ten_times_are_one_job_each_on_rabbitmq() {
    messages_come_ten_times(BrokerKind::Rabbit);
}
