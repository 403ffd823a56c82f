//! A NATS server with JetStream in a folder of its own.
//!
//! Its port and folder stay the same over `kill`, `stop` and `restart`, so that a client meets the same
//! server again; `wipe` makes it one that has lost its data. Used by the tests of the NATS adapter and by
//! those of the whole system.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{Process, free_port, wait_until};

/// The program; `BUL_TEST_NATS_SERVER` names another, to run all tests on another release.
const PROGRAM: &str = "nats-server";

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// Every write is synced before it is acknowledged; servers before 2.10 refuse the option.
    pub sync_always: bool,
    /// User and password that it demands.
    pub login: Option<(String, String)>,
    /// Further lines of its configuration file.
    pub lines: String,
    /// The program of another release.
    pub program: Option<PathBuf>,
    /// Where it keeps its streams, for example a small file system that fills up; in its own folder if absent.
    pub store: Option<PathBuf>,
}

/// A running server.
pub struct Nats {
    process: Process,
    options: NatsOptions,
    folder: TempDir,
    port: u16,
}

impl Nats {
    /// Starts one that asks for no password.
    pub fn start() -> Result<Self> {
        Self::start_with(NatsOptions::default())
    }

    /// Starts one as asked for.
    pub fn start_with(options: NatsOptions) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port();
        std::fs::write(folder.path().join("nats.conf"), configuration(&options, port, &folder)?)?;
        let process = launch(&options, &folder)?;
        let mut nats = Self { process, options, folder, port };
        nats.wait()?;
        Ok(nats)
    }

    /// Starts servers that form one cluster; a stream may have as many replicas.
    pub fn start_cluster(nodes: usize) -> Result<Vec<Self>> {
        let ports: Vec<u16> = (0..nodes).map(|_| free_port()).collect();
        let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let mut started = Vec::new();
        for (node, port) in ports.iter().enumerate() {
            let lines = format!(
                "server_name: \"node-{node}\"\ncluster {{ name: \"test\", listen: \"127.0.0.1:{port}\", routes: [{}] }}\n",
                routes.join(", ")
            );
            started.push(Self::start_with(NatsOptions { lines, ..NatsOptions::default() })?);
        }
        for node in &started {
            // Before they have elected a leader nobody answers for JetStream.
            wait_until("the cluster has a leader", || jetstream_answers(node.port))?;
        }
        Ok(started)
    }

    /// Its address, with user and password where it has them.
    pub fn url(&self) -> String {
        let login = self.options.login.as_ref().map(|(user, password)| format!("{user}:{password}@"));
        format!("nats://{}127.0.0.1:{}", login.unwrap_or_default(), self.port)
    }

    /// Its port on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its streams.
    pub fn store(&self) -> PathBuf {
        store(&self.options, &self.folder)
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("nats.log")
    }

    /// What it has said, in small letters.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default().to_lowercase()
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in order, and waits for the end.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal("TERM")?;
        wait_until("nats-server ends", || !self.process.is_running())
    }

    /// Starts it again on the same port and folder; one that still runs is killed before.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = launch(&self.options, &self.folder)?;
        self.wait()
    }

    /// Makes it a server that has lost its data.
    pub fn wipe(&mut self) -> Result<()> {
        self.process.kill();
        std::fs::remove_dir_all(self.store()).context("the store folder is not removed")?;
        self.restart()
    }

    /// Stops it in its tracks: its connections stay and nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal("STOP")
    }

    /// Lets a frozen one go on.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal("CONT")
    }

    fn wait(&mut self) -> Result<()> {
        let port = self.port;
        let process = &mut self.process;
        wait_until("nats-server listens", || {
            !process.is_running() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        if self.process.is_running() {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        anyhow::bail!("nats-server ended at its start: {}", log.lines().last().unwrap_or("no log"))
    }
}

/// Asks for the account's state over the bare protocol.
fn jetstream_answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream
            .write_all(b"CONNECT {\"verbose\":false}\r\nSUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\n")?;
        let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(false),
                read => heard.extend_from_slice(&buffer[..read]),
            }
            let text = String::from_utf8_lossy(&heard);
            if let Some((_, answer)) = text.split_once("MSG answer")
                && answer.trim_end().ends_with('}')
            {
                return Ok(!answer.contains("\"error\""));
            }
        }
    };
    ask().unwrap_or(false)
}

fn store(options: &NatsOptions, folder: &TempDir) -> PathBuf {
    options.store.clone().unwrap_or_else(|| folder.path().join("store"))
}

fn configuration(options: &NatsOptions, port: u16, folder: &TempDir) -> Result<String> {
    let store = store(options, folder);
    let folder = folder.path().display();
    let mut text = format!("listen: \"127.0.0.1:{port}\"\nlog_file: \"{folder}/nats.log\"\n");
    writeln!(text, "jetstream {{")?;
    writeln!(text, "  store_dir: \"{}\"", store.display())?;
    if options.sync_always {
        writeln!(text, "  sync_interval: always")?;
    }
    writeln!(text, "}}")?;
    if let Some((user, password)) = &options.login {
        writeln!(text, "authorization {{ user: \"{user}\", password: \"{password}\" }}")?;
    }
    writeln!(text, "{}", options.lines)?;
    Ok(text)
}

fn launch(options: &NatsOptions, folder: &TempDir) -> Result<Process> {
    let other = || std::env::var_os("BUL_TEST_NATS_SERVER").map(PathBuf::from);
    let program = options.program.clone().or_else(other).unwrap_or_else(|| PROGRAM.into());
    Process::start(&program.to_string_lossy(), None, |command| {
        command.arg("-c").arg(folder.path().join("nats.conf"));
    })
}
