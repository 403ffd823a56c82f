//! Faults of an installation of several processes, on NATS and on RabbitMQ; each ends in the conservation equation.

use std::time::Duration;

use bul_harness::Fault;
use bul_tests::{BrokerKind, Cluster, installed, repository, run};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// One test per broker.
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        mod nats {
            $($(#[$doc])* #[test] fn $name() { super::$name(bul_tests::BrokerKind::Nats) })*
        }
        mod rabbit {
            $($(#[$doc])* #[test] fn $name() { super::$name(bul_tests::BrokerKind::Rabbit) })*
        }
    };
}

on_both!(
    roles_apart_run_jobs,
    workers_killed_at_random_lose_nothing,
    a_frozen_worker_is_fenced_off,
    a_broker_that_dies_comes_back,
    a_broker_that_lost_its_data_is_filled_again,
    a_database_that_dies_comes_back,
    networks_fail_in_every_way,
    another_scheduler_takes_over,
    a_worker_that_is_told_to_stop_hands_its_work_back,
    foreign_programs_publish_straight_onto_the_broker,
);

/// On RabbitMQ 4 what it does otherwise than its forerunners: deliveries are counted, and queues kept, in another way.
mod rabbit_4 {
    use bul_tests::BrokerKind;

    fn on(test: fn(BrokerKind)) {
        if BrokerKind::NewestRabbit.is_installed() {
            test(BrokerKind::NewestRabbit);
        }
    }

    #[test]
    fn workers_killed_at_random_lose_nothing() {
        on(super::workers_killed_at_random_lose_nothing);
    }

    #[test]
    fn a_broker_that_dies_comes_back() {
        on(super::a_broker_that_dies_comes_back);
    }

    #[test]
    fn a_broker_that_lost_its_data_is_filled_again() {
        on(super::a_broker_that_lost_its_data_is_filled_again);
    }

    #[test]
    fn foreign_programs_publish_straight_onto_the_broker() {
        on(super::foreign_programs_publish_straight_onto_the_broker);
    }
}

/// The usual day: every role in a process of its own.
fn roles_apart_run_jobs(kind: BrokerKind) {
    let mut cluster = Cluster::start_usual(kind);
    cluster.submit(0..40);
    cluster.assert_exactly_once(40);
    let doctor = cluster.cli(&["doctor"]).expect(0);
    assert!(doctor.out.contains("PostgreSQL") || doctor.out.contains("postgres"), "{}", doctor.out);
    // The servers of the tests do not sync to the disk, and an operator hears of it.
    assert!(doctor.out.contains("note: fsync is off"), "{}", doctor.out);
    for role in ["worker-1", "worker-2", "scheduler", "producer"] {
        assert_eq!(cluster.terminate(role), 0, "{role} ends well");
    }
}

fn workers_killed_at_random_lose_nothing(kind: BrokerKind) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut cluster = Cluster::start_usual(kind);
    cluster.submit(0..150);
    for round in 0..8 {
        pause(rng.random_range(20..400));
        let worker = if round % 2 == 0 { "worker-1" } else { "worker-2" };
        cluster.kill(worker);
        cluster.start_role(worker);
    }
    cluster.assert_exactly_once(150);
}

/// Its lease ends while it stands still; what it does after the thaw must not count.
fn a_frozen_worker_is_fenced_off(kind: BrokerKind) {
    let mut cluster = Cluster::start(kind);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.role("worker-1", &["worker"], &[("BUL_TEST_TOKEN_DELAY_MS", "150")]);
    cluster.submit(0..4);
    cluster.wait_for("running", 1);
    cluster.signal("worker-1", "STOP");
    cluster.role("worker-2", &["worker"], &[]);
    cluster.assert_exactly_once(4);
    cluster.signal("worker-1", "CONT");
    // It ends once its attempts have.
    assert_eq!(cluster.terminate("worker-1"), 0);
    cluster.assert_exactly_once(4);
}

fn a_broker_that_dies_comes_back(kind: BrokerKind) {
    let mut cluster = Cluster::start_usual(kind);
    cluster.submit(0..60);
    cluster.broker.kill();
    // Accepted while the broker is away: the store has them.
    cluster.submit(60..80);
    pause(1_000);
    cluster.broker.restart();
    cluster.submit(80..100);
    cluster.assert_exactly_once(100);
}

fn a_broker_that_lost_its_data_is_filled_again(kind: BrokerKind) {
    let mut cluster = Cluster::start(kind);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    // No worker yet: the broker holds everything when it is wiped.
    cluster.submit(0..50);
    cluster.wait_for("queued", 50);
    pause(2_500);
    cluster.broker.wipe();
    cluster.role("worker-1", &["worker"], &[]);
    cluster.assert_exactly_once(50);
}

fn a_database_that_dies_comes_back(kind: BrokerKind) {
    let mut cluster = Cluster::start_usual(kind);
    cluster.submit(0..80);
    pause(300);
    cluster.postgres.kill();
    pause(1_500);
    cluster.postgres.restart().expect("PostgreSQL starts again");
    cluster.assert_exactly_once(80);
    cluster.submit(80..100);
    cluster.assert_exactly_once(100);
}

/// Cut, reset, silent, slow, and with answers lost: towards the store, then towards the broker.
fn networks_fail_in_every_way(kind: BrokerKind) {
    let cluster = Cluster::start_usual(kind);
    let mut next = 0;
    let slow = Fault::Delay(Duration::from_millis(30));
    for fault in [Fault::Cut, Fault::Reset, Fault::LostAnswers, Fault::BlackHole, slow] {
        for network in [&cluster.store_network, &cluster.broker_network] {
            cluster.submit(next..next + 15);
            next += 15;
            pause(50);
            network.set(fault);
            pause(2_500);
            network.set(Fault::Cut);
            pause(50);
            network.set(Fault::None);
        }
    }
    cluster.assert_exactly_once(next as u64);
}

/// Jobs that are due in the future are moved by whoever leads then.
fn another_scheduler_takes_over(kind: BrokerKind) {
    let mut cluster = Cluster::start_usual(kind);
    cluster.role("scheduler-2", &["scheduler"], &[]);
    let jobs: String = (0..20)
        .map(|n| {
            let at = cluster.time_in(2 + n);
            format!("{{\"query\": \"Later {n}\", \"run_at\": \"{at}\", \"formats\": [\"md\", \"json\"]}}\n")
        })
        .collect();
    cluster.submit_lines(&jobs);
    cluster.wait_for("completed", 3);
    cluster.kill("scheduler");
    cluster.assert_exactly_once(20);
    cluster.kill("scheduler-2");
    cluster.start_role("scheduler");
    cluster.submit(0..5);
    cluster.assert_exactly_once(25);
}

fn a_worker_that_is_told_to_stop_hands_its_work_back(kind: BrokerKind) {
    let mut cluster = Cluster::start(kind);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    let slow = [("BUL_TEST_TOKEN_DELAY_MS", "400"), ("BUL_WORKER_GRACE_S", "1")];
    cluster.role("worker-1", &["worker"], &slow);
    cluster.submit(0..4);
    cluster.wait_for("running", 2);
    assert_eq!(cluster.terminate("worker-1"), 0);
    cluster.role("worker-2", &["worker"], &[]);
    cluster.assert_exactly_once(4);
    let spent = cluster.ask("SELECT coalesce(max(failures), 0) + coalesce(max(crashes), 0) FROM jobs");
    assert_eq!(spent, "0", "a shutdown spends no attempt");
}

/// A job of a Python program becomes a document, one of a Node program too, in JSON and in MessagePack; what is no job becomes a dead letter; and each
/// program's second publication under the same name is the same job.
fn foreign_programs_publish_straight_onto_the_broker(kind: BrokerKind) {
    let cluster = Cluster::start_usual(kind);
    // The programs for NATS publish twice by themselves.
    let (name, runs) = if kind.is_nats() { ("nats", 1) } else { ("rabbitmq", 2) };
    let (python, modules) = (installed("python/bin/python"), installed("node_modules"));
    let client = |file: String| repository().join("tests/it/clients").join(file).display().to_string();
    let (url, tenant) = (cluster.broker_url(), "default");
    for _ in 0..runs {
        run(&python, &[&client(format!("publish_{name}.py")), &url, tenant, "Plan from Python"]);
        run("node", &[&client(format!("publish_{name}.mjs")), &modules, &url, tenant, "Plan from Node"]);
    }
    run(&python, &[&client(format!("msgpack_{name}.py")), &url, tenant, "Packed by Python"]);
    run("node", &[&client(format!("msgpack_{name}.mjs")), &modules, &url, tenant, "Packed by Node"]);
    cluster.wait_for("completed", 5);
    assert_packed(&cluster);
    run(&python, &[&client(format!("{name}_bytes.py")), &url, &format!("low.{tenant}"), "{\"query\": 7}"]);
    cluster.wait_for("dead", 1);
    let ledger = cluster.settle();
    assert_eq!(
        (&ledger["accepted"], &ledger["completed"], &ledger["dead"]),
        (&6.into(), &5.into(), &1.into()),
        "{ledger}"
    );
    let letters = cluster.cli(&["dlq", "list", "-o", "json"]).expect(0).out;
    assert!(letters.contains("unreadable") && letters.contains("query"), "{letters}");
}

/// What came in MessagePack, once bare and once in an event from Python and once from Node, has the very values that were sent.
fn assert_packed(cluster: &Cluster) {
    let sent = serde_json::json!({"sections": ["Scope"], "amount": 12.5, "count": 3, "paid": false});
    let ids = cluster.ask("SELECT id FROM jobs ORDER BY id");
    let job = |id: &str| cluster.cli(&["jobs", "show", id, "-o", "json"]).expect(0).json()["job"].clone();
    let packed: Vec<_> = ids
        .lines()
        .map(job)
        .filter(|job| job["query"].as_str().is_some_and(|query| query.starts_with("Packed by")))
        .collect();
    assert_eq!(packed.len(), 3, "{packed:?}");
    assert!(packed.iter().all(|job| job["data"] == sent), "{packed:?}");
}
