//! What an operator sets up: replicas, lanes, kinds, and how much of all that one tenant may have. Each test ends in the
//! conservation equation.

use std::process::Command;

use bul_harness::free_port;
use bul_tests::{BrokerKind, Cluster, Ran, eventually, metric};

/// Jobs of one lane, two documents each.
fn lines(lane: &str, count: usize) -> String {
    (0..count)
        .map(|n| {
            format!(
                "{{\"query\": \"Plan {n}\", \"priority\": \"{lane}\", \"formats\": [\"md\", \"json\"]}}\n"
            )
        })
        .collect()
}

/// Producer and scheduler; workers are what the tests are about.
fn cluster() -> Cluster {
    cluster_on(BrokerKind::Nats)
}

fn cluster_on(kind: BrokerKind) -> Cluster {
    let mut cluster = Cluster::start(kind);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster
}

/// Three replicas with one place each run three jobs at once; told to stop, all three hand theirs back.
#[test]
fn replicas_work_at_once_and_hand_all_back() {
    let mut cluster = cluster();
    let slow =
        [("BUL_TEST_TOKEN_DELAY_MS", "400"), ("BUL_WORKER_GRACE_S", "1"), ("BUL_WORKER_CONCURRENCY", "1")];
    cluster.role("three", &["worker", "--replicas", "3"], &slow);
    cluster.submit(0..6);
    cluster.wait_for("running", 3);
    let busy = "SELECT count(*), count(DISTINCT worker) FROM jobs WHERE state = 'running'";
    assert_eq!(cluster.ask(busy), "3|3", "one each");
    assert_eq!(cluster.terminate("three"), 0);
    assert_eq!(cluster.ledger()["running"], 0);
    assert_eq!(
        cluster.ask("SELECT count(DISTINCT worker) FROM attempts WHERE outcome = 'handed_back'"),
        "3",
        "{}",
        cluster.logs()
    );
    cluster.role("worker-1", &["worker"], &[]);
    cluster.assert_exactly_once(6);
    assert_eq!(cluster.ask("SELECT max(failures) + max(crashes) FROM jobs"), "0");
}

/// A worker takes the lanes it was given and no other; what nobody serves stays queued and says where.
#[test]
fn lanes_and_kinds_are_kept_to() {
    let mut cluster = cluster();
    for wrong in [["--lanes", "urgent"], ["--kinds", "webhook.deliver"]] {
        let refused = cluster.cli(&["worker", wrong[0], wrong[1]]).expect(2);
        assert!(refused.err.contains(wrong[1]), "{refused:?}");
    }
    cluster.role("high", &["worker", "--lanes", "high", "--kinds", "document.generate"], &[]);
    cluster.submit_lines(&lines("low", 3));
    cluster.submit_lines(&lines("high", 12));
    cluster.wait_for("completed", 12);
    assert_eq!(cluster.ask("SELECT state, count(*) FROM jobs WHERE lane = 3 GROUP BY 1"), "queued|3");
    let id = cluster.ask("SELECT id FROM jobs WHERE lane = 3 ORDER BY id LIMIT 1");
    let shown = cluster.cli(&["jobs", "show", &id]).expect(0).out;
    assert!(shown.contains("queued in lane low"), "{shown}");
    cluster.role("low", &["worker", "--lanes", "low"], &[]);
    cluster.assert_exactly_once(15);
    let workers =
        "SELECT lane, count(DISTINCT worker), min(worker) = max(worker) FROM jobs GROUP BY 1 ORDER BY 1";
    assert_eq!(cluster.ask(workers), "1|1|t\n3|1|t", "one worker for each lane");
    assert_eq!(cluster.ask("SELECT count(DISTINCT worker) FROM jobs"), "2", "and not the same");
}

/// One place, a full lane of the highest priority, and a few jobs of the lowest: these do not wait for all of those.
#[test]
fn no_lane_waits_for_another_to_be_empty() {
    let mut cluster = cluster();
    cluster.submit_lines(&lines("critical", 150));
    cluster.submit_lines(&lines("low", 5));
    cluster.wait_for("queued", 155);
    cluster.role("worker-1", &["worker"], &[("BUL_WORKER_CONCURRENCY", "1")]);
    cluster.assert_exactly_once(155);
    // Eight turns to one: the last of the five comes with about the fortieth of the others.
    let later = "SELECT count(*) FROM jobs WHERE lane = 0 AND started_at > (SELECT max(started_at) FROM jobs WHERE lane = 3)";
    let later: u32 = cluster.ask(later).parse().expect("a number");
    assert!(later >= 75, "only {later} of 150 critical jobs came after the last low one");
    // And the weight counts: when the first of the lowest began, others had had their turns.
    let sooner = "SELECT count(*) FROM jobs WHERE lane = 0 AND started_at < (SELECT max(started_at) FROM jobs WHERE lane = 3)";
    let sooner: u32 = cluster.ask(sooner).parse().expect("a number");
    assert!(sooner >= 20, "only {sooner} critical jobs came before the last low one");
}

/// Five hundred jobs of a tenant that may run two at once, then a single one of another.
#[test]
fn a_tenant_keeps_to_its_limit_and_others_do_not_wait_for_it() {
    let mut cluster = cluster();
    cluster.cli(&["tenant", "set", "acme", "--running-max", "2"]).expect(0);
    let submit = |tenant: &str, jobs: &str| {
        let made =
            cluster.cli(&["key", "create", "--name", tenant, "--tenant", tenant, "-o", "json"]).expect(0);
        let key = made.json()["key"].as_str().expect("a key").to_owned();
        let file = tempfile::NamedTempFile::with_suffix(".jsonl").expect("a file");
        std::fs::write(file.path(), jobs).expect("it can be written");
        let mut command: Command = cluster.command();
        Ran::of(command.env("BUL_KEY", key).arg("submit").arg(file.path())).expect(0);
    };
    submit("acme", &lines("normal", 500));
    submit("beta", &lines("normal", 1));
    cluster.role(
        "worker-1",
        &["worker"],
        &[("BUL_TEST_TOKEN_DELAY_MS", "3"), ("BUL_WORKER_CONCURRENCY", "8")],
    );
    let (mut most, mut beta_at) = (0, None);
    eventually("sixty of the many are done", || {
        let count = |what: &str| -> u32 {
            cluster.ask(&format!("SELECT count(*) FROM jobs WHERE {what}")).parse().expect("a number")
        };
        most = most.max(count("tenant = 'acme' AND state = 'running'"));
        let done = count("tenant = 'acme' AND state = 'completed'");
        if beta_at.is_none() && count("tenant = 'beta' AND state = 'completed'") == 1 {
            beta_at = Some(done);
        }
        (done >= 60).then_some(())
    });
    assert_eq!(most, 2, "as many at once as it may, and no more");
    assert!(beta_at.is_some_and(|done| done < 60), "the other's job waited for {beta_at:?}");
    let id = cluster.ask("SELECT id FROM jobs WHERE tenant = 'acme' AND state = 'waiting' LIMIT 1");
    assert!(!id.is_empty(), "those over the limit wait in the store");
    cluster.ledger();
}

/// Jobs that travel together do not lie with one worker while others idle, and survive the death of one that has some of them.
fn bundles_are_shared(kind: BrokerKind) {
    let mut cluster = Cluster::start(kind);
    let port = free_port();
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[("BUL_METRICS_LISTEN", &format!("127.0.0.1:{port}"))]);
    cluster.submit(0..64);
    let waiting = || metric(port, "bul_lane_depth{kind=\"ready\",lane=\"normal\"}");
    eventually("four messages wait", || (waiting() == Some(4)).then_some(()));
    let slow =
        [("BUL_TEST_TOKEN_DELAY_MS", "30"), ("BUL_WORKER_CONCURRENCY", "3"), ("BUL_WORKER_LEASE_S", "5")];
    let workers = ["worker-1", "worker-2", "worker-3", "worker-4", "worker-5"];
    for name in workers {
        cluster.role(name, &["worker"], &slow);
    }
    cluster.wait_for("running", 15);
    let busy = "SELECT count(DISTINCT worker) FROM jobs WHERE state = 'running'";
    assert_eq!(cluster.ask(busy), "5", "five workers for what came in four messages");
    cluster.kill("worker-1");
    cluster.assert_exactly_once(64);
    let crashed = "SELECT count(*) > 0, max(crashes), max(failures) FROM jobs WHERE crashes > 0";
    assert_eq!(cluster.ask(crashed), "t|1|0", "the dead worker's jobs ran again, once");
}

#[test]
fn workers_share_bundles_on_nats() {
    bundles_are_shared(BrokerKind::Nats);
}

#[test]
fn workers_share_bundles_on_rabbitmq() {
    bundles_are_shared(BrokerKind::Rabbit);
}

/// The server takes a message back from a worker that has held it for longer than it allows; the attempt goes on, since it is
/// the lease in the store that counts, and the second delivery finds the job running.
#[test]
fn an_attempt_outlives_what_the_broker_allows() {
    let mut cluster = cluster_on(BrokerKind::Rabbit);
    let set = "application:set_env(rabbit, consumer_timeout, 1500), application:set_env(rabbit, channel_tick_interval, 300).";
    cluster.broker.rabbit().ctl(&["eval", set]).expect("it is set");
    cluster.role("slow", &["worker"], &[("BUL_TEST_TOKEN_DELAY_MS", "250")]);
    cluster.submit(0..1);
    cluster.wait_for("running", 1);
    cluster.role("other", &["worker"], &[]);
    cluster.wait_for_line("slow", "the delivery could not be extended");
    cluster.assert_exactly_once(1);
    assert_eq!(cluster.ask("SELECT attempt, failures, crashes FROM jobs"), "1|0|0", "{}", cluster.logs());
}
