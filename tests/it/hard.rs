//! Faults that take more than killing a process: a full disk, a job that kills its workers, a broker of three servers.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bul_tests::{BrokerKind, Cluster, Server, ServerOptions};

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
    let end = Instant::now() + Duration::from_secs(150);
    let (mut deaths, mut ledger) = (0, cluster.ledger());
    while ledger["completed"] != 20 || ledger["dead"] != 1 {
        assert!(Instant::now() < end, "after {deaths} deaths: {ledger}\n{}", cluster.logs());
        deaths += cluster.restart_dead();
        pause(200);
        ledger = cluster.ledger();
    }
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

/// A file system of a few megabytes, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(megabytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={megabytes}m,mode=700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// The store's disk fills up: submissions are refused with an error that says so, nothing accepted is lost, and when there is
/// room again work goes on without a restart.
#[test]
fn a_full_disk_under_the_store_refuses_and_recovers() {
    let Some(disk) = SmallDisk::mount(32) else {
        eprintln!("not run: mounting a file system needs root");
        return;
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20]).expect("there is room for the ballast");
    let store = format!("sqlite:{}", disk.path().join("bul.db").display());
    let server = Server::start(ServerOptions::default().with("BUL_STORE", &store).scripted());
    let context = "x".repeat(60_000);
    let submit = |n: usize| {
        let job = format!(
            "{{\"query\": \"Plan {n}\", \"context\": \"{context}\", \"formats\": [\"md\"], \"run_at\": \"2999-01-01T00:00:00Z\", \"idempotency_key\": \"k{n}\"}}"
        );
        server.cli_with_input(&["submit", "-"], &job)
    };
    let mut accepted = 0;
    let refused = loop {
        let ran = submit(accepted);
        if ran.code != 0 {
            break ran;
        }
        accepted += 1;
        assert!(accepted < 1_000, "32 MB never fill up");
    };
    assert!(accepted > 10, "{accepted}");
    assert!(refused.code == 4 || refused.code == 1, "{refused:?}");
    std::fs::remove_file(&ballast).expect("room again");
    assert_eq!(server.ledger()["accepted"], accepted, "what was refused is not there");
    let again = submit(accepted);
    assert_eq!(again.code, 0, "{again:?}");
    server.cli(&["submit", "--query", "Sales plan", "--wait"]).expect(0);
    let ledger = server.ledger();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&(accepted + 2).into(), &1.into()), "{ledger}");
}
