//! A server of a cluster is lost and another goes on: PostgreSQL's standby becomes the primary, a RabbitMQ node that leads a queue
//! dies. Nothing of ours is started again; each test ends in the conservation equation.

use std::time::{Duration, Instant};

use bul_harness::wait_until;
use bul_tests::{BrokerKind, Cluster};

/// Submits under the keys of the jobs until the answer is that they are accepted, as a client does in an outage.
fn submit_at_last(cluster: &Cluster, range: std::ops::Range<usize>) {
    let jobs: String = range
        .map(|n| format!("{{\"query\": \"Plan {n}\", \"idempotency_key\": \"plan-{n}\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\"]}}}}\n"))
        .collect();
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let ran = cluster.try_submit(&jobs);
        if ran.code == 0 {
            return;
        }
        assert!(Instant::now() < end, "{ran:?}\n{}", cluster.logs());
    }
}

/// The primary is killed while jobs run and its standby, which has every answered commit, takes over.
#[test]
fn a_standby_of_the_database_is_promoted() {
    let mut cluster = Cluster::start(BrokerKind::Nats);
    let standby = cluster.postgres.start_standby().expect("a standby");
    let ports = (cluster.postgres.port(), standby.port());
    cluster.set(
        "BUL_STORE",
        &format!(
            "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/bul?target_session_attrs=read-write",
            ports.0, ports.1
        ),
    );
    let slow = [("BUL_TEST_TOKEN_DELAY_MS", "20")];
    cluster.role("producer", &["producer"], &[]);
    cluster.role("worker-1", &["worker"], &slow);
    cluster.role("worker-2", &["worker"], &slow);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.submit(0..80);
    cluster.wait_for("completed", 5);
    cluster.postgres.kill();
    // For a while there is no primary: the standby answers and takes no writes.
    assert_ne!(
        cluster.try_submit("{\"query\": \"Plan\", \"formats\": [\"md\"]}\n").code,
        0,
        "nobody can have taken it"
    );
    standby.promote().expect("promoted");
    let open = standby.psql("SELECT count(*) FROM bul.jobs WHERE state <> 'completed'").expect("a count");
    assert_ne!(open, "0", "the kill hit nothing");
    let old = std::mem::replace(&mut cluster.postgres, standby);
    submit_at_last(&cluster, 80..100);
    // What was accepted before the failover is there: the same keys are the same jobs.
    submit_at_last(&cluster, 0..20);
    cluster.assert_exactly_once(100);
    assert_eq!(cluster.restart_dead(), 0, "a process of ours ended");
    let doctor = cluster.cli(&["doctor"]).expect(0).out;
    assert!(doctor.contains(&format!("127.0.0.1:{},127.0.0.1:{}", ports.0, ports.1)), "{doctor}");
    drop(old);
}

/// The node that leads the queue of all jobs dies, then each of the others; two of three go on.
#[test]
fn a_rabbitmq_cluster_loses_one_node_at_a_time() {
    let mut cluster = Cluster::start_usual(BrokerKind::RabbitCluster);
    let leader = {
        let nodes = cluster.broker.rabbits();
        let queues =
            nodes[0].ctl(&["list_queues", "--no-table-headers", "name", "leader"]).expect("a list of queues");
        let line =
            queues.lines().find(|line| line.starts_with("bul.jobs.normal")).expect("a queue").to_owned();
        let leads = |node: &bul_harness::RabbitMq| line.contains(&format!("bul{}@", node.port()));
        nodes.iter().position(leads).expect("a leader")
    };
    let mut next = 0;
    for victim in [leader, (leader + 1) % 3, (leader + 2) % 3] {
        cluster.submit(next..next + 20);
        cluster.broker.rabbits()[victim].kill();
        cluster.submit(next + 20..next + 40);
        cluster.wait_for("completed", next as u64 + 40);
        cluster.broker.rabbits()[victim].restart().expect("the node starts again");
        wait_for_replicas(&mut cluster);
        next += 40;
    }
    cluster.assert_exactly_once(next as u64);
    assert_eq!(cluster.restart_dead(), 0, "a process of ours ended");
    cluster.cli(&["doctor"]).expect(0);
}

/// Every replica of every queue runs again, so that the next node may be lost.
fn wait_for_replicas(cluster: &mut Cluster) {
    let nodes = cluster.broker.rabbits();
    wait_until("all replicas run", || {
        let queues =
            nodes[0].ctl(&["list_queues", "--no-table-headers", "name", "online"]).unwrap_or_default();
        let lanes: Vec<&str> = queues.lines().filter(|line| line.starts_with("bul.jobs.")).collect();
        lanes.len() == 4 && lanes.iter().all(|line| line.matches("@localhost").count() == 3)
    })
    .expect("all replicas run");
}
