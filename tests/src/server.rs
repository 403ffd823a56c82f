//! `bul up` as a process that can be killed.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ran, bul};

/// How long anything may take that should be done in seconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Environment beyond the harness's own.
    pub environment: Vec<(String, String)>,
}

impl ServerOptions {
    /// Adds a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The scripted model: for tests of everything but the prose.
    #[must_use]
    pub fn scripted(self) -> Self {
        self.with("BUL_MODEL", "scripted")
    }
}

/// A running system and its folder. Dropped, it is killed and everything removed.
pub struct Server {
    home: TempDir,
    port: u16,
    options: ServerOptions,
    child: Option<Child>,
    lines: Option<Receiver<String>>,
}

impl Server {
    /// Starts `bul up` and waits until it is ready.
    pub fn start(options: ServerOptions) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self { home, port, options, child: None, lines: None };
        server.restart();
        server
    }

    /// Starts it again on the same folder and port and waits until it is ready.
    pub fn restart(&mut self) {
        let mut command = self.command();
        command.arg("up").stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("bul up starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (send, lines) = sync_channel(1_000);
        std::thread::spawn(move || {
            // A full channel must not block the server: lines nobody waits for are dropped.
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.try_send(line);
            }
        });
        self.child = Some(child);
        self.lines = Some(lines);
        self.wait_for_line("ready to take jobs");
    }

    /// Waits for a log line that holds `text`.
    pub fn wait_for_line(&mut self, text: &str) {
        let lines = self.lines.as_ref().expect("the server runs");
        let end = Instant::now() + PATIENCE;
        let mut seen = String::new();
        while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        panic!("no line {text:?}:\n{seen}");
    }

    /// Lets time pass while the server works, or returns early when it dies.
    pub fn let_work(&self, time: Duration) {
        let end = Instant::now() + time;
        let lines = self.lines.as_ref().expect("the server runs");
        while lines.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok() {}
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; waits for the end and returns the exit code.
    pub fn terminate(&mut self) -> i32 {
        let mut child = self.child.take().expect("the server runs");
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        child.wait().expect("the server ends").code().unwrap_or(-1)
    }

    /// A client command against this server.
    pub fn command(&self) -> Command {
        let mut command = bul(self.home.path());
        command.env("BUL_LISTEN", format!("127.0.0.1:{}", self.port)).env("BUL_URL", self.url());
        command.envs(self.options.environment.iter().cloned());
        command
    }

    /// Runs a client command.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command().args(arguments))
    }

    /// Runs a client command with input.
    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let path = self.home.path().join("stdin");
        std::fs::write(&path, input).expect("input can be written");
        Ran::of(self.command().args(arguments).stdin(std::fs::File::open(path).expect("input can be read")))
    }

    /// The ledger, which must balance.
    pub fn ledger(&self) -> Value {
        self.cli(&["ledger", "-o", "json"]).expect(0).json()["total"].clone()
    }

    /// Waits until no job is open any more and returns the ledger.
    pub fn settle(&self) -> Value {
        let end = Instant::now() + 2 * PATIENCE;
        loop {
            let total = self.ledger();
            let open =
                ["waiting", "queued", "running"].iter().map(|s| total[s].as_u64().unwrap_or(0)).sum::<u64>();
            if open == 0 {
                return total;
            }
            assert!(Instant::now() < end, "jobs are still open: {total}");
            self.let_work(Duration::from_millis(200));
        }
    }

    /// Changes a variable for the next start.
    #[must_use]
    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.options.environment.retain(|(n, _)| n != name);
        self.options.environment.push((name.into(), value.into()));
        self
    }

    /// Base address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Port of the HTTP API.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Most memory it has held at one time, MiB.
    pub fn memory_peak_mib(&self) -> u64 {
        let id = self.child.as_ref().expect("the server runs").id();
        let status =
            std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process can be looked at");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") / 1024
    }

    /// The folder that is home to server and commands.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.home.path().join("data/bul.db")
    }

    /// The local key.
    pub fn key(&self) -> String {
        let file = self.home.path().join("data/local.key");
        std::fs::read_to_string(&file).expect("bul up leaves a local key").trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
