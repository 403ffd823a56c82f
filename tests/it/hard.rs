//! Faults that take more than killing a process: a job that kills its workers, a broker of three servers.

use std::time::Duration;

use bul_tests::{BrokerKind, Cluster, eventually};

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A job that ends its worker whenever it runs is put aside after a few times; the others, which ran beside it, are done.
#[test]
fn a_job_that_kills_its_workers_is_put_aside() {
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    let deadly = [("BUL_TEST_ABORT_ON", "poison pill")];
    cluster.role("worker-1", &["worker"], &deadly);
    cluster.role("worker-2", &["worker"], &deadly);
    cluster.submit(0..10);
    cluster.submit_lines("{\"query\": \"poison pill\", \"formats\": [\"md\"]}\n");
    cluster.submit(10..20);
    let mut deaths = 0;
    eventually("twenty jobs are done and one is put aside", || {
        deaths += cluster.restart_dead();
        let ledger = cluster.ledger();
        (ledger["completed"] == 20 && ledger["dead"] == 1).then_some(())
    });
    assert!(deaths >= 4, "it was tried {deaths} times");
    let letter = cluster.cli(&["dlq", "list", "-o", "json"]).expect(0).out;
    assert!(letter.contains("poison"), "{letter}");
}

/// One server after another is killed or stands still; two of three go on.
#[test]
fn a_broker_of_three_servers_loses_one_at_a_time() {
    let mut cluster = Cluster::start_usual(BrokerKind::NatsCluster);
    let mut next = 0;
    for node in 0..3 {
        cluster.submit(next..next + 20);
        cluster.broker.nodes()[node].kill();
        cluster.submit(next + 20..next + 40);
        cluster.wait_for("completed", next as u64 + 40);
        cluster.broker.nodes()[node].restart().expect("the server starts again");
        next += 40;
        pause(2_000);
    }
    for node in 0..3 {
        cluster.submit(next..next + 20);
        cluster.broker.nodes()[node].freeze().expect("frozen");
        pause(4_000);
        cluster.submit(next + 20..next + 40);
        cluster.broker.nodes()[node].thaw().expect("thawed");
        next += 40;
    }
    cluster.assert_exactly_once(next as u64);
}
