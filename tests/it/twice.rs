//! Two of what works alone: a leading scheduler that stands still while another takes over, and two replays at once. Nothing
//! is missed and nothing done twice; each test ends in the conservation equation.

use std::process::{Command, Stdio};

use bul_harness::free_port;
use bul_tests::{BrokerKind, Cluster, Ran, eventually, metric, refusing_server};

const SCHEDULERS: [&str; 2] = ["scheduler", "scheduler-2"];
const REPORT: &str =
    r#"{"query": "Weekly report", "formats": ["md", "json"], "data": {"sections": ["Scope"]}}"#;

/// Which of the two leads; `ports` are those of their metrics. One that stands still cannot be asked.
fn leads(ports: [u16; 2], at: usize) -> bool {
    metric(ports[at], "bul_scheduler_leader") == Some(1)
}

fn submit_later(cluster: &Cluster, range: std::ops::Range<usize>, seconds: usize) {
    let at = cluster.time_in(seconds);
    let jobs: String = range
        .map(|n| {
            format!("{{\"query\": \"Later {n}\", \"run_at\": \"{at}\", \"formats\": [\"md\", \"json\"]}}\n")
        })
        .collect();
    cluster.submit_lines(&jobs);
}

/// The leader stands still while jobs become due and while a schedule fires; the other one does both, and the thawed one, which
/// still believes that it leads, neither repeats anything nor takes over again.
#[test]
fn a_frozen_leader_is_replaced_and_does_no_harm_when_thawed() {
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    let ports = [free_port(), free_port()];
    for (name, port) in SCHEDULERS.iter().zip(ports) {
        cluster.role(name, &["scheduler"], &[("BUL_METRICS_LISTEN", &format!("127.0.0.1:{port}"))]);
    }
    cluster.add_schedule("minutely", "* * * * *", "UTC", &["--missed", "all"], REPORT);
    let fires =
        |cluster: &Cluster| cluster.ask("SELECT count(*) FROM fires").parse::<u64>().expect("a number");
    let mut next = 0;
    for _ in 0..3 {
        let leader = eventually("one leads", || (0..2).find(|at| leads(ports, *at)));
        let other = 1 - leader;
        let before = fires(&cluster);
        submit_later(&cluster, next..next + 10, 2);
        next += 10;
        cluster.signal(SCHEDULERS[leader], "STOP");
        eventually("the other takes over", || leads(ports, other).then_some(()));
        eventually("it fires", || (fires(&cluster) > before).then_some(()));
        let due = "SELECT count(*) FROM jobs WHERE state = 'completed' AND body LIKE '%\"Later %'";
        eventually("it moves what is due", || (cluster.ask(due) == next.to_string()).then_some(()));
        cluster.signal(SCHEDULERS[leader], "CONT");
        eventually("the thawed one learns that it does not lead", || (!leads(ports, leader)).then_some(()));
        assert!(leads(ports, other), "the leadership was taken back\n{}", cluster.logs());
    }
    cluster.cli(&["schedule", "pause", "minutely"]).expect(0);
    let gaps = "SELECT count(*) - 1 - extract(epoch FROM max(fire_at) - min(fire_at))::int / 60 FROM fires";
    assert_eq!(cluster.ask(gaps), "0", "a minute was missed");
    cluster.assert_exactly_once(next as u64 + fires(&cluster));
    assert_eq!(cluster.ask("SELECT max(attempt) FROM jobs"), "1");
}

/// Two operators replay all dead letters at the same moment, directly on the database.
#[test]
fn two_replays_at_once_replay_each_letter_once() {
    const LETTERS: u64 = 200;
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    let refusing = format!("openai+http://127.0.0.1:{}/v1#none", refusing_server(400));
    cluster.role("worker-1", &["worker"], &[("BUL_MODEL", &refusing)]);
    cluster.submit(0..LETTERS as usize);
    cluster.wait_for("dead", LETTERS);
    assert_eq!(cluster.terminate("worker-1"), 0);
    let replays: Vec<_> = (0..2)
        .map(|_| {
            let mut command: Command = cluster.command();
            command.args(["dlq", "replay", "--all", "--direct", "-o", "json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the replay starts")
        })
        .collect();
    let mut replayed = Vec::new();
    for replay in replays {
        let output = replay.wait_with_output().expect("the replay ends");
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let report = ran.expect(0).json();
        assert_eq!(report["failed"], 0, "{report}");
        replayed.push(report["replayed"].as_u64().expect("a number"));
    }
    assert_eq!(replayed.iter().sum::<u64>(), LETTERS, "{replayed:?}");
    cluster.role("worker-2", &["worker"], &[]);
    cluster.assert_exactly_once(LETTERS);
    assert_eq!(cluster.ask("SELECT min(attempt), max(attempt) FROM jobs"), "2|2");
    let noted = cluster.ask("SELECT count(*), count(DISTINCT job) FROM audit WHERE action = 'dlq.replay'");
    assert_eq!(noted, format!("{LETTERS}|{LETTERS}"));
}
