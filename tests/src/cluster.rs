//! An installation of several processes on real servers: PostgreSQL, NATS or RabbitMQ, and roles of `bul` that can be
//! killed, frozen and started again, each for itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use bul_harness::{Postgres, Proxy, free_port};
use serde_json::Value;
use tempfile::TempDir;

use crate::broker::{BrokerKind, BrokerServer, NODES, Servers};
use crate::http::{Answer, request};
use crate::program::{Ran, bul};

/// How long anything may take that should be done in seconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(150);
/// Lines of a role that are kept for a failing test, and how many of the last it shows.
const LINES_KEPT: usize = 20_000;
const LINES_SHOWN: usize = 120;

struct Role {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    lines: Option<Receiver<String>>,
}

/// The installation. Dropped, everything is killed and removed.
pub struct Cluster {
    /// Store; behind [`Self::store_network`].
    pub postgres: Postgres,
    /// Broker; behind [`Self::broker_network`].
    pub broker: BrokerServer,
    /// Between every role and the store.
    pub store_network: Proxy,
    /// Between every role and the broker.
    pub broker_network: Proxy,
    home: TempDir,
    http_port: u16,
    environment: Vec<(String, String)>,
    roles: BTreeMap<String, Role>,
}

impl Cluster {
    /// Servers and an empty schema; no role runs yet.
    pub fn start(kind: BrokerKind) -> Self {
        Self::start_on(kind, Servers::default())
    }

    /// The same on servers that are started as told.
    pub fn start_on(kind: BrokerKind, servers: Servers) -> Self {
        let postgres = Postgres::start_with(servers.postgres).expect("PostgreSQL starts");
        let broker = BrokerServer::start(kind, servers.nats).expect("the broker starts");
        let store_network = Proxy::start(postgres.port()).expect("a proxy");
        let broker_network = Proxy::start(broker.port()).expect("a proxy");
        let store = postgres.url().replacen(
            &format!(":{}", postgres.port()),
            &format!(":{}", store_network.port()),
            1,
        );
        let mut environment = vec![
            ("BUL_STORE".to_owned(), store),
            ("BUL_BROKER".to_owned(), broker.url(broker_network.port())),
            ("BUL_MODEL".to_owned(), "scripted".to_owned()),
            ("BUL_WORKER_LEASE_S".to_owned(), "5".to_owned()),
            ("BUL_RETRY_BASE_MS".to_owned(), "100".to_owned()),
            ("BUL_RETRY_CRASHES_MAX".to_owned(), "4".to_owned()),
        ];
        if kind == BrokerKind::NatsCluster {
            environment.push(("BUL_BROKER_REPLICAS".to_owned(), NODES.to_string()));
        }
        let home = tempfile::tempdir().expect("a temporary folder");
        let http_port = free_port();
        let cluster = Self {
            postgres,
            broker,
            store_network,
            broker_network,
            home,
            http_port,
            environment,
            roles: BTreeMap::new(),
        };
        cluster.cli(&["migrate"]).expect(0);
        cluster
    }

    /// Producer, two workers and a scheduler.
    pub fn start_usual(kind: BrokerKind) -> Self {
        Self::start(kind).with_usual_roles()
    }

    /// Starts a producer, two workers and a scheduler.
    #[must_use]
    pub fn with_usual_roles(mut self) -> Self {
        let cluster = &mut self;
        cluster.role("producer", &["producer"], &[]);
        cluster.role("worker-1", &["worker"], &[]);
        cluster.role("worker-2", &["worker"], &[]);
        cluster.role("scheduler", &["scheduler"], &[]);
        self
    }

    /// Sets a variable for every role and command from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts a role under a name and waits until it is ready.
    pub fn role(&mut self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) {
        let own = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        let role = Role {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: environment.iter().map(own).collect(),
            child: None,
            lines: None,
        };
        self.roles.insert(name.to_owned(), role);
        self.start_role(name);
    }

    /// Starts a role again after its end and waits until it is ready.
    pub fn start_role(&mut self, name: &str) {
        let mut command = self.command();
        let role = self.roles.get_mut(name).expect("a role of this name");
        command.args(&role.arguments).envs(role.environment.iter().cloned());
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the role starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (send, lines) = sync_channel(LINES_KEPT);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // A full channel must not block the role.
                let _ = send.try_send(line);
            }
        });
        (role.child, role.lines) = (Some(child), Some(lines));
        self.wait_for_line(name, "ready to take jobs");
    }

    /// Waits for a log line of a role that holds `text`.
    pub fn wait_for_line(&self, name: &str, text: &str) {
        let lines = self.roles[name].lines.as_ref().expect("the role runs");
        let end = Instant::now() + PATIENCE;
        let mut seen = String::new();
        while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        panic!("{name}: no line {text:?}:\n{seen}");
    }

    /// `kill -9` of a role.
    pub fn kill(&mut self, name: &str) {
        if let Some(mut child) = self.roles.get_mut(name).expect("a role of this name").child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts every role again that has ended by itself, as a supervisor does; how many had.
    pub fn restart_dead(&mut self) -> usize {
        let has_ended =
            |role: &mut Role| role.child.as_mut().is_some_and(|c| c.try_wait().is_ok_and(|s| s.is_some()));
        let dead: Vec<String> =
            self.roles.iter_mut().filter_map(|(name, role)| has_ended(role).then(|| name.clone())).collect();
        dead.iter().for_each(|name| self.start_role(name));
        dead.len()
    }

    /// SIGTERM to a role; waits for its end and returns the exit code.
    pub fn terminate(&mut self, name: &str) -> i32 {
        self.signal(name, "TERM");
        let mut child = self.roles.get_mut(name).and_then(|role| role.child.take()).expect("the role runs");
        child.wait().expect("the role ends").code().unwrap_or(-1)
    }

    /// Sends a signal by name: `STOP` freezes a role, `CONT` lets it go on.
    pub fn signal(&self, name: &str, signal: &str) {
        let child = self.roles[name].child.as_ref().expect("the role runs");
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// A command with the settings of this installation.
    pub fn command(&self) -> Command {
        let mut command = bul(self.home.path());
        let url = format!("http://127.0.0.1:{}", self.http_port);
        command.env("BUL_LISTEN", format!("127.0.0.1:{}", self.http_port)).env("BUL_URL", url);
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs a command.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command().args(arguments))
    }

    /// Submits free requests, one Markdown and one JSON document each; expects them to be accepted.
    pub fn submit(&self, range: std::ops::Range<usize>) {
        let jobs: String = range
            .map(|n| {
                format!(
                    "{{\"query\": \"Plan {n}\", \"idempotency_key\": \"plan-{n}\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\"]}}}}\n"
                )
            })
            .collect();
        self.submit_lines(&jobs);
    }

    /// Submits jobs as lines of JSON; expects them to be accepted.
    pub fn submit_lines(&self, jobs: &str) {
        self.try_submit(jobs).expect(0);
    }

    /// Submits jobs as lines of JSON.
    pub fn try_submit(&self, jobs: &str) -> Ran {
        self.with_file("jobs.jsonl", jobs, &["submit"])
    }

    /// Adds a schedule; expects it to be accepted.
    pub fn add_schedule(&self, name: &str, cron: &str, zone: &str, further: &[&str], job: &str) {
        let mut arguments = vec!["schedule", "add", name, "--cron", cron, "--timezone", zone];
        arguments.extend_from_slice(further);
        self.with_file("schedule.json", job, &arguments).expect(0);
    }

    /// Runs a command whose last argument is a file of this content.
    fn with_file(&self, name: &str, content: &str, arguments: &[&str]) -> Ran {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).expect("a file can be written");
        let path = path.display().to_string();
        self.cli(&[arguments, &[&path]].concat())
    }

    /// Port of the producer.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// What the local key is sent as.
    pub fn authorization(&self) -> String {
        let key = std::fs::read_to_string(self.home.path().join("data/local.key")).expect("a local key");
        format!("Bearer {}", key.trim())
    }

    /// Sends a request to the producer with the local key.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        let authorization = self.authorization();
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        request(self.http_port, method, path, &headers, body.as_bytes())
    }

    /// A time in some seconds, by the store's clock.
    pub fn time_in(&self, seconds: usize) -> String {
        let form = r#"YYYY-MM-DD"T"HH24:MI:SS"Z""#;
        let sql = format!("SELECT to_char(now() AT TIME ZONE 'utc' + interval '{seconds} s', '{form}')");
        self.postgres.psql(&sql).expect("the store's clock")
    }

    /// Address of the broker, past the proxy, for other programs.
    pub fn broker_url(&self) -> String {
        self.broker.url(self.broker.port())
    }

    /// The ledger from the store, past the proxies; it must balance.
    pub fn ledger(&self) -> Value {
        let mut command = self.command();
        command.env("BUL_STORE", self.postgres.url()).args(["ledger", "-o", "json"]);
        Ran::of(&mut command).expect(0).json()["total"].clone()
    }

    /// Waits until `count` of the ledger's `state` has come.
    pub fn wait_for(&self, state: &str, count: u64) {
        self.wait_until(&format!("{count} {state}"), |ledger| ledger[state].as_u64() >= Some(count));
    }

    /// Waits until no job is open any more and returns the ledger.
    pub fn settle(&self) -> Value {
        self.wait_until("no open job", |ledger| {
            ["waiting", "queued", "running"].iter().all(|state| ledger[state] == 0)
        })
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let ledger = self.ledger();
            if is_so(&ledger) {
                return ledger;
            }
            if Instant::now() >= end {
                panic!("{what} was expected: {ledger}\n{}{}", self.open_jobs(), self.logs());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Asks the store's tables as the superuser; rows as lines, columns between `|`.
    pub fn ask(&self, sql: &str) -> String {
        self.postgres.psql(&format!("SET search_path = bul; {sql}")).expect("a query of the test")
    }

    /// What the roles have said last.
    pub fn logs(&self) -> String {
        let mut out = String::new();
        for (name, role) in &self.roles {
            let lines: Vec<String> = role.lines.iter().flat_map(|lines| lines.try_iter()).collect();
            for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
                out.push_str(&format!("{name}: {line}\n"));
            }
        }
        out
    }

    /// What the store and the broker know of the jobs that have not ended.
    fn open_jobs(&self) -> String {
        let jobs = self.ask(
            "SELECT id, state, lane, attempt, publish, accepted_at, due_at FROM jobs \
             WHERE state IN ('waiting', 'queued', 'running') ORDER BY id LIMIT 40",
        );
        let doctor = self.cli(&["doctor"]);
        format!("now {}\n{jobs}\n{}{}", self.time_in(0), doctor.out, doctor.err)
    }

    /// Every job of `count` ended exactly once, with each of its two documents stored once.
    #[track_caller]
    pub fn assert_exactly_once(&self, count: u64) {
        let ledger = self.settle();
        let pair = (ledger["accepted"].as_u64(), ledger["completed"].as_u64());
        assert_eq!(pair, (Some(count), Some(count)), "{ledger}\n{}", self.logs());
        let documents = self.ask("SELECT count(*), count(DISTINCT job) FROM documents");
        assert_eq!(documents, format!("{}|{count}", count * 2));
        let doubles =
            "SELECT count(*) FROM (SELECT 1 FROM documents GROUP BY job, format HAVING count(*) > 1) d";
        assert_eq!(self.ask(doubles), "0");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for role in self.roles.values_mut() {
            if let Some(child) = &mut role.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
