//! Rolling upgrades: old workers meet what newer versions publish and store, and newer ones what old versions left behind
//! (`messages/v1`). Nothing is lost and no attempt is spent; what nobody comes for is a dead letter that says why.

use std::time::{Duration, Instant};

use bul_tests::{BrokerKind, Cluster, Server, ServerOptions, installed, repository, run, sqlite};
use serde_json::Value;

/// A worker that gives up on newer versions at once, instead of after ten minutes.
const IMPATIENT: (&str, &str) = ("BUL_WORKER_NEWER_S_MAX", "1");
/// What the rows of a newer version say that this one cannot read.
const KIND: &str = "document.generate";
const NEWER_KIND: &str = "document.translate";

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn frozen(name: &str) -> String {
    let path = repository().join("tests/it/messages/v1").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Publishes as a program without our library does; `version` marks it as one of ours.
fn publish(cluster: &Cluster, kind: BrokerKind, text: &str, version: Option<u32>) {
    let (script, mark) = match kind.is_nats() {
        true => ("nats_bytes.py", "Bul-Message"),
        false => ("rabbitmq_bytes.py", "bul-message"),
    };
    let script = repository().join("tests/it/clients").join(script).display().to_string();
    let (url, mark) = (cluster.broker_url(), version.map(|version| format!("{mark}={version}")));
    let mut arguments = vec![script.as_str(), &url, "normal.default", text];
    arguments.extend(mark.as_deref());
    run(&installed("python/bin/python"), &arguments);
}

/// Dead letters as the command line lists them.
fn letters(text: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(text).expect("a list");
    list.as_array().or_else(|| list["dead_letters"].as_array()).expect("a list").clone()
}

/// Messages of a newer form rest with the broker and hold up nobody; a job of today beside them runs. A worker that comes
/// after the time for upgrades puts them aside with their bytes and a reason.
fn newer_messages(kind: BrokerKind) {
    let mut cluster = Cluster::start(kind);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    publish(&cluster, kind, "{\"form\": \"of tomorrow\"}", Some(3));
    let event = frozen("cloudevent.json").replace("submitted.v1", "submitted.v2");
    publish(&cluster, kind, &event, None);
    for _ in 0..4 {
        cluster.wait_for_line("worker-1", "left to workers of a newer version");
    }
    cluster.submit(0..20);
    cluster.wait_for("completed", 20);
    let ledger = cluster.ledger();
    assert_eq!((&ledger["accepted"], &ledger["dead"]), (&20.into(), &0.into()), "{ledger}");
    assert_eq!(cluster.terminate("worker-1"), 0);
    cluster.role("worker-2", &["worker"], &[IMPATIENT]);
    cluster.wait_for("dead", 2);
    let ledger = cluster.settle();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&22.into(), &20.into()), "{ledger}");
    let list = cluster.cli(&["dlq", "list", "-o", "json"]).expect(0).out;
    let found = letters(&list);
    assert_eq!(found.len(), 2, "{list}");
    assert!(found.iter().all(|letter| letter["reason"] == "unreadable"), "{list}");
    for said in ["its form is 3", "submitted.v2", "of tomorrow"] {
        assert!(list.contains(said), "{said:?} is not in {list}");
    }
}

#[test]
fn newer_messages_are_left_to_newer_workers_on_nats() {
    newer_messages(BrokerKind::Nats);
}

#[test]
fn newer_messages_are_left_to_newer_workers_on_rabbitmq() {
    newer_messages(BrokerKind::Rabbit);
}

/// What version 1 published is a job today: bare, in a CloudEvent, and with attributes that came later.
fn older_messages(kind: BrokerKind) {
    let cluster = Cluster::start_usual(kind);
    publish(&cluster, kind, &frozen("job.json"), None);
    publish(&cluster, kind, &frozen("cloudevent.json"), None);
    let mut newer: Value = serde_json::from_str(&frozen("cloudevent.json")).expect("JSON");
    newer["id"] = "frozen-event-2".into();
    newer["tomorrow"] = "an attribute of a newer version".into();
    publish(&cluster, kind, &newer.to_string(), None);
    // The tenant is that of the subject, whatever the event says.
    cluster.assert_exactly_once(3);
    assert_eq!(cluster.ask("SELECT string_agg(DISTINCT tenant, ' ') FROM jobs"), "default");
}

#[test]
fn messages_of_version_1_are_understood_on_nats() {
    older_messages(BrokerKind::Nats);
}

#[test]
fn messages_of_version_1_are_understood_on_rabbitmq() {
    older_messages(BrokerKind::Rabbit);
}

/// Rows that a newer version has written come to old workers: they hand them back and go on with the others. Once an
/// upgraded worker is there they run, with all their attempts.
#[test]
fn rows_of_a_newer_version_wait_for_a_newer_worker() {
    let mut cluster = Cluster::start_usual(BrokerKind::Nats);
    let at = cluster.time_in(4);
    let jobs: String = (0..4)
        .map(|n| format!("{{\"query\": \"Plan {n}\", \"run_at\": \"{at}\", \"formats\": [\"md\", \"json\"], \"max_attempts\": 1}}\n"))
        .collect();
    cluster.submit_lines(&jobs);
    let newer = format!("UPDATE jobs SET body = replace(body, '{KIND}', '{NEWER_KIND}')");
    cluster.ask(&newer);
    cluster.submit(4..12);
    cluster.wait_for("completed", 8);
    let handed_back = "SELECT count(DISTINCT job) FROM attempts WHERE outcome = 'handed_back'";
    let end = Instant::now() + Duration::from_secs(60);
    while cluster.ask(handed_back) != "4" {
        assert!(Instant::now() < end, "they did not come to a worker\n{}", cluster.logs());
        pause(200);
    }
    let ledger = cluster.ledger();
    assert_eq!(
        (&ledger["completed"], &ledger["waiting"], &ledger["dead"]),
        (&8.into(), &4.into(), &0.into()),
        "{ledger}"
    );
    // What nobody can read here can be listed and looked at.
    cluster.cli(&["jobs", "list"]).expect(0);
    for worker in ["worker-1", "worker-2"] {
        assert_eq!(cluster.terminate(worker), 0);
    }
    // This version plays the upgraded one.
    cluster.ask(&format!("UPDATE jobs SET body = replace(body, '{NEWER_KIND}', '{KIND}')"));
    cluster.role("worker-3", &["worker"], &[]);
    cluster.assert_exactly_once(12);
    assert_eq!(cluster.ask("SELECT max(failures), max(crashes) FROM jobs"), "0|0", "an attempt was spent");
}

/// The same in one process; and where nobody upgrades, the job is a dead letter that says so, can be listed, and runs when
/// it is replayed by a version that can read it.
#[test]
fn a_row_of_a_newer_version_is_put_aside_when_nobody_comes_for_it() {
    let server = Server::start(ServerOptions::default().with(IMPATIENT.0, IMPATIENT.1).scripted());
    let at = run("date", &["-u", "-d", "+4 sec", "+%Y-%m-%dT%H:%M:%SZ"]);
    let job = format!("{{\"query\": \"Plan\", \"run_at\": \"{}\", \"formats\": [\"md\"]}}", at.trim());
    server.cli_with_input(&["submit", "-"], &job).expect(0);
    sqlite(
        &server.database(),
        &format!("UPDATE payloads SET body = replace(body, '{KIND}', '{NEWER_KIND}')"),
    );
    server.cli(&["submit", "--query", "Sales plan", "--wait"]).expect(0);
    let ledger = server.settle();
    assert_eq!((&ledger["completed"], &ledger["dead"]), (&1.into(), &1.into()), "{ledger}");
    let list = server.cli(&["dlq", "list", "-o", "json"]).expect(0).out;
    assert!(list.contains("job_unreadable") && list.contains(NEWER_KIND), "{list}");
    sqlite(
        &server.database(),
        &format!("UPDATE payloads SET body = replace(body, '{NEWER_KIND}', '{KIND}')"),
    );
    server.cli(&["dlq", "replay", "--all"]).expect(0);
    let ledger = server.settle();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&2.into(), &2.into()), "{ledger}");
}
