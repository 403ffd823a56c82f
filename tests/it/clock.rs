//! Wrong clocks, with real processes: hours ahead, hours behind, set while they run, and the days on which the clocks of a
//! country change. The store's clock decides, which is the database's: no lease is taken from a living worker, no job is lost
//! or done twice, and a schedule fires once. Each test ends in the conservation equation.

use std::time::Duration;

use bul_harness::PostgresOptions;
use bul_tests::{BrokerKind, Clock, Cluster, Server, ServerOptions, Servers, eventually, sqlite};
use serde_json::Value;

const HOURS_3: i64 = 3 * 3600;
/// Of those with a time to run.
const LATER_DONE: &str = "SELECT count(*) FROM jobs WHERE state = 'completed' AND title LIKE '%Later%'";
/// Longer than a lease of the cluster's tests (5 s), token by token.
const SLOW: (&str, &str) = ("BUL_TEST_TOKEN_DELAY_MS", "400");

/// Starts a role under a false clock.
fn role_by(cluster: &mut Cluster, clock: &Clock, name: &str, arguments: &[&str], further: &[(&str, &str)]) {
    let environment = clock.environment();
    let mut all: Vec<(&str, &str)> = environment.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    all.extend_from_slice(further);
    cluster.role(name, arguments, &all);
}

/// No attempt ended without its worker's word.
fn assert_no_lease_taken(cluster: &Cluster) {
    let lost = cluster.ask("SELECT coalesce(max(crashes), 0), (SELECT count(*) FROM attempts) FROM jobs");
    assert_eq!(lost, "0|0", "{}", cluster.logs());
}

/// Every role has another time; jobs run for longer than a lease.
fn clocks_apart(kind: BrokerKind) {
    let mut cluster = Cluster::start(kind);
    let (fast, slow) = (Clock::ahead(HOURS_3), Clock::ahead(-HOURS_3));
    role_by(&mut cluster, &slow, "producer", &["producer"], &[]);
    role_by(&mut cluster, &fast, "scheduler", &["scheduler"], &[]);
    role_by(&mut cluster, &slow, "worker-1", &["worker"], &[SLOW]);
    role_by(&mut cluster, &fast, "worker-2", &["worker"], &[SLOW]);
    cluster.submit(0..16);
    let later: String = (0..8)
        .map(|n| format!("{{\"query\": \"Later {n}\", \"run_at\": \"{}\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\"]}}}}\n", cluster.time_in(3 + n)))
        .collect();
    cluster.submit_lines(&later);
    cluster.assert_exactly_once(24);
    assert_no_lease_taken(&cluster);
    let longest = cluster.ask("SELECT max(ended_at - started_at) > interval '5 s' FROM jobs");
    assert_eq!(longest, "t", "no job ran for longer than its lease");
    let early =
        cluster.ask("SELECT count(*) FROM jobs WHERE started_at < (body::json ->> 'run_at')::timestamptz");
    assert_eq!(early, "0", "a delayed job began before its time");
    let strayed = "SELECT count(*) FROM jobs WHERE abs(extract(epoch FROM ended_at - now())) > 1800";
    assert_eq!(cluster.ask(strayed), "0", "a foreign clock is in the record");
}

#[test]
fn roles_with_clocks_hours_apart_agree_on_nats() {
    clocks_apart(BrokerKind::Nats);
}

#[test]
fn roles_with_clocks_hours_apart_agree_on_rabbitmq() {
    clocks_apart(BrokerKind::Rabbit);
}

/// All roles look at one clock, which jumps three hours on and six hours back while jobs run.
#[test]
fn clocks_that_are_set_while_jobs_run_change_nothing() {
    let mut cluster = Cluster::start(BrokerKind::Nats);
    let clock = Clock::ahead(0);
    role_by(&mut cluster, &clock, "producer", &["producer"], &[]);
    role_by(&mut cluster, &clock, "scheduler", &["scheduler"], &[]);
    role_by(&mut cluster, &clock, "worker-1", &["worker"], &[SLOW]);
    role_by(&mut cluster, &clock, "worker-2", &["worker"], &[SLOW]);
    let (mut next, mut later_done) = (0, 1);
    for ahead in [HOURS_3, -HOURS_3, 0] {
        cluster.submit(next..next + 8);
        let later = format!(
            "{{\"query\": \"Later {next}\", \"run_at\": \"{}\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\"]}}}}\n",
            cluster.time_in(6)
        );
        cluster.submit_lines(&later);
        next += 8;
        cluster.wait_for("running", 1);
        clock.set(ahead);
        // It was due when more than a lease had gone by.
        eventually("the job that was due later", || {
            (cluster.ask(LATER_DONE) == later_done.to_string()).then_some(())
        });
        later_done += 1;
    }
    cluster.assert_exactly_once(next as u64 + 3);
    assert_no_lease_taken(&cluster);
}

/// A person whose machine is hours ahead hands in a job with a deadline in an hour; one whose machine is behind is not
/// believed that it lies ahead.
#[test]
fn a_deadline_is_judged_by_the_servers_clock() {
    let server = Server::start(ServerOptions::default().scripted());
    let (fast, slow) = (Clock::ahead(HOURS_3), Clock::ahead(-HOURS_3));
    let time = |from_now: &str| run_date(&["-u", "-d", from_now, "+%Y-%m-%dT%H:%M:%SZ"]);
    let submit = |clock: &Clock, from_now: &str| {
        let path = server.home().join("job.json");
        let job = format!("{{\"query\": \"Plan\", \"deadline\": \"{}\"}}", time(from_now));
        std::fs::write(&path, job).expect("the job can be written");
        let mut command = server.command();
        command.envs(clock.environment()).args(["submit", &path.display().to_string()]);
        bul_tests::Ran::of(&mut command)
    };
    submit(&fast, "+1 hour").expect(0);
    assert_eq!(submit(&slow, "-1 hour").code, 2);
    let ledger = server.settle();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&1.into(), &1.into()), "{ledger}");
}

fn run_date(arguments: &[&str]) -> String {
    bul_tests::run("date", arguments).trim().to_owned()
}

/// The one process of `bul up` is set back by three hours while jobs wait and run: what was to happen in seconds happens in
/// seconds.
#[test]
fn one_process_goes_on_when_its_clock_is_set_back() {
    let clock = Clock::ahead(0);
    let mut options = ServerOptions::default().scripted().with("BUL_TEST_TOKEN_DELAY_MS", "20");
    options.environment.extend(clock.environment());
    let mut server = Server::start(options);
    let job = |n: usize, more: &str| {
        format!(
            "{{\"query\": \"Plan {n}\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\"]}}{more}}}\n"
        )
    };
    for (round, ahead) in [0, -HOURS_3].into_iter().enumerate() {
        let at = run_date(&["-u", "-d", &format!("{ahead} sec +8 sec"), "+%Y-%m-%dT%H:%M:%SZ"]);
        let late = format!(", \"run_at\": \"{at}\"");
        let jobs: String = (0..6).map(|n| job(10 * round + n, if n < 3 { "" } else { &late })).collect();
        server.cli_with_input(&["submit", "-"], &jobs).expect(0);
        clock.set(-HOURS_3);
        server.let_work(Duration::from_secs(3));
    }
    let ledger = server.settle();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&12.into(), &12.into()), "{ledger}");
    // It was set back for good; whoever takes over starts behind the last entry.
    server.kill();
    server.restart();
    server.cli_with_input(&["submit", "-"], &job(99, "")).expect(0);
    let ledger = server.settle();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&13.into(), &13.into()), "{ledger}");
    let doubles = "SELECT count(*) FROM (SELECT 1 FROM documents GROUP BY job, format HAVING count(*) > 1)";
    assert_eq!(sqlite(&server.database(), doubles), ["0"]);
}

/// Waits until producer and scheduler have asked for the time again: what the one says, and until when the other leads, is near it.
fn wait_for_the_databases_time(cluster: &Cluster) {
    eventually("the producer follows", || {
        let usage: Value = serde_json::from_slice(&cluster.request("GET", "/v1/usage", "").body).ok()?;
        // Of the last thirty days, unless told otherwise.
        let now = format!("timestamptz '{}' + interval '720 hours'", usage["since"].as_str()?);
        (cluster.ask(&format!("SELECT abs(extract(epoch FROM {now} - now())) < 60")) == "t").then_some(())
    });
    let follows = "SELECT max(expires_at) < now() + interval '1 hour' FROM leaders";
    eventually("the scheduler follows", || (cluster.ask(follows) == "t").then_some(()));
}

/// Waits until so many fires are on record.
fn wait_for_fires(cluster: &Cluster, count: usize) {
    let has_come = || cluster.ask("SELECT count(*) FROM fires") == count.to_string();
    eventually(&format!("{count} fires"), || has_come().then_some(()));
}

const REPORT: &str =
    r#"{"query": "Weekly report", "formats": ["md", "json"], "data": {"sections": ["Scope"]}}"#;

/// Two schedulers, six hours apart by their own clocks: each minute makes one job, also over a change of the leader.
#[test]
fn schedulers_with_clocks_hours_apart_fire_each_minute_once() {
    let mut cluster = Cluster::start(BrokerKind::Nats);
    let (fast, slow) = (Clock::ahead(HOURS_3), Clock::ahead(-HOURS_3));
    role_by(&mut cluster, &slow, "producer", &["producer"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    role_by(&mut cluster, &fast, "scheduler", &["scheduler"], &[]);
    role_by(&mut cluster, &slow, "scheduler-2", &["scheduler"], &[]);
    cluster.add_schedule("minutely", "* * * * *", "UTC", &[], REPORT);
    wait_for_fires(&cluster, 1);
    cluster.kill("scheduler");
    wait_for_fires(&cluster, 2);
    cluster.kill("scheduler-2");
    let strayed = "SELECT count(*) FROM fires WHERE fire_at > now() OR fire_at < now() - interval '10 min'";
    assert_eq!(cluster.ask(strayed), "0", "a fire at a time that is not the database's");
    cluster.start_role("scheduler");
    cluster.wait_for("completed", 2);
    let fires = cluster.ask("SELECT count(*) FROM fires").parse().expect("a number");
    cluster.assert_exactly_once(fires);
}

/// Seconds from now to a time in UTC.
fn seconds_until(time: &str) -> i64 {
    let (then, now) = (run_date(&["-u", "-d", time, "+%s"]), run_date(&["+%s"]));
    then.parse::<i64>().expect("seconds") - now.parse::<i64>().expect("seconds")
}

/// Berlin, 28 March 2027: at 02:00 it is 03:00. Berlin, 31 October 2027: at 03:00 it is 02:00 again.
const SPRING: &str = "2027-03-28 00:59:40 UTC";
const AUTUMN_FIRST: &str = "2027-10-31 00:29:40 UTC";
const AUTUMN_AGAIN: &str = "2027-10-31 01:29:40 UTC";

/// The database's clock goes over both days on which Berlin's clocks change: "half past two" is skipped on one of them and
/// comes twice on the other, and the schedule fires once on each.
#[test]
fn half_past_two_fires_once_on_the_days_on_which_clocks_change() {
    let clock = Clock::ahead(seconds_until(SPRING));
    let postgres = PostgresOptions { environment: clock.environment(), ..PostgresOptions::default() };
    let mut cluster = Cluster::start_on(BrokerKind::Nats, Servers { postgres, ..Servers::default() });
    cluster.role("producer", &["producer"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    // Seven months go by in this test: the first job would have been kept long enough.
    let kept = [("BUL_RETENTION_COMPLETED_DAYS", "0")];
    cluster.role("scheduler", &["scheduler"], &kept);
    cluster.role("scheduler-2", &["scheduler"], &kept);
    cluster.add_schedule("nightly", "30 2 * * *", "Europe/Berlin", &["--missed", "skip"], REPORT);
    wait_for_fires(&cluster, 1);
    cluster.wait_for("completed", 1);
    for (at, fires) in [(AUTUMN_FIRST, 2), (AUTUMN_AGAIN, 2)] {
        clock.set(seconds_until(at));
        // The processes ask for the database's time every ten seconds; twenty seconds later it is half past two.
        wait_for_fires(&cluster, fires);
        if at == AUTUMN_AGAIN {
            // The leader has looked at its schedules since: it renews its lease of some seconds with each look.
            let is_over = "SELECT max(expires_at) > '2027-10-31 01:31:00Z' FROM leaders";
            eventually("half past two is over", || (cluster.ask(is_over) == "t").then_some(()));
            wait_for_fires(&cluster, fires);
        }
        cluster.wait_for("completed", fires as u64);
    }
    let days = cluster.ask(
        "SELECT string_agg(to_char(fire_at AT TIME ZONE 'utc', 'MM-DD'), ' ' ORDER BY fire_at) FROM fires",
    );
    assert_eq!(days, "03-28 10-31");
    cluster.assert_exactly_once(2);
}

/// The database's clock is set back by three hours while jobs run and wait. Every process follows it; a lease that was
/// written by the old time may be lost, a job may not, and what comes afterwards does not wait for three hours.
#[test]
fn a_database_whose_clock_is_set_back_goes_on() {
    let clock = Clock::ahead(0);
    let postgres = PostgresOptions { environment: clock.environment(), ..PostgresOptions::default() };
    let servers = Servers { postgres, ..Servers::default() };
    let mut cluster = Cluster::start_on(BrokerKind::Nats, servers).with_usual_roles();
    cluster.submit(0..30);
    cluster.wait_for("completed", 5);
    clock.set(-HOURS_3);
    wait_for_the_databases_time(&cluster);
    let later: String = (0..6)
        .map(|n| {
            format!(
                "{{\"query\": \"Later {n}\", \"run_at\": \"{}\", \"formats\": [\"md\", \"json\"]}}\n",
                cluster.time_in(2 + n)
            )
        })
        .collect();
    cluster.submit_lines(&later);
    cluster.submit(30..40);
    cluster.kill("worker-1");
    cluster.start_role("worker-1");
    cluster.assert_exactly_once(46);
}
