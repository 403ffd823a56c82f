//! A Redis server in a folder of its own, without persistence.
//!
//! Its port stays the same over `kill` and `restart`, so that a client meets the same address again; with no
//! persistence a restarted one has lost everything, as a cache's server may. Used by the tests of the cache.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{Process, free_port, wait_until};

/// The program; `BUL_TEST_REDIS_SERVER` names another, to test a newer release or a relative of Redis.
const PROGRAM: &str = "redis-server";
/// How long one answer may take while the server is starting.
const ANSWER: Duration = Duration::from_millis(500);

/// A running server.
pub struct Redis {
    process: Process,
    arguments: Vec<String>,
    password: Option<String>,
    folder: TempDir,
    port: u16,
}

impl Redis {
    /// Starts one that asks for no password.
    pub fn start() -> Result<Self> {
        Self::start_with(None, &[])
    }

    /// Starts one that demands a password where one is given, with further arguments as on its command line.
    pub fn start_with(password: Option<&str>, arguments: &[&str]) -> Result<Self> {
        let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        if let Some(password) = password {
            arguments.extend(["--requirepass".into(), password.into()]);
        }
        let folder = tempfile::tempdir()?;
        let port = free_port();
        let process = launch(port, &folder, &arguments)?;
        let mut redis = Self { process, arguments, password: password.map(Into::into), folder, port };
        redis.wait()?;
        Ok(redis)
    }

    /// Its address, with the password where it has one.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same through another port of this machine, for a proxy in front of it.
    pub fn url_at(&self, port: u16) -> String {
        let login = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{login}127.0.0.1:{port}")
    }

    /// Its port on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, empty; one that still runs is killed before.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = launch(self.port, &self.folder, &self.arguments)?;
        self.wait()
    }

    /// Makes it forget everything.
    pub fn flush(&self) -> Result<()> {
        self.cli(&["FLUSHALL"]).map(drop)
    }

    /// Stops it in its tracks: its connections stay, new ones are taken by the kernel, nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal("STOP")
    }

    /// Lets a frozen one go on; what was sent to it meanwhile is carried out now.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal("CONT")
    }

    /// What `redis-cli` prints for a command, without the line's end. Hangs while the server is frozen.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        let output =
            command.args(arguments).output().context("redis-cli does not start; run make test-deps")?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if !output.status.success() {
            bail!("redis-cli failed: {text} {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(text)
    }

    fn wait(&mut self) -> Result<()> {
        let port = self.port;
        let process = &mut self.process;
        wait_until("redis-server answers", || !process.is_running() || answers(port))?;
        if !self.process.is_running() {
            bail!("redis-server ended at its start: port {port} in use, or an argument it does not know");
        }
        Ok(())
    }
}

/// Whether a greeting is answered; a demand for the password is an answer too.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"+PONG\r\n" || answer == *b"-NOAUTH")
    };
    ask().unwrap_or(false)
}

fn launch(port: u16, folder: &TempDir, arguments: &[String]) -> Result<Process> {
    let program = std::env::var("BUL_TEST_REDIS_SERVER").unwrap_or_else(|_| PROGRAM.into());
    Process::start(&program, None, |command| {
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--daemonize", "no"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder.path());
        command.args(arguments);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_on_flush_and_restart_and_keeps_its_port() {
        let mut redis = Redis::start_with(Some("secret"), &[]).unwrap();
        let port = redis.port();
        assert_eq!(redis.cli(&["SET", "a", "1"]).unwrap(), "OK");
        assert_eq!(redis.cli(&["GET", "a"]).unwrap(), "1");
        redis.flush().unwrap();
        assert_eq!(redis.cli(&["GET", "a"]).unwrap(), "");
        redis.cli(&["SET", "a", "2"]).unwrap();
        redis.freeze().unwrap();
        assert!(!answers(port));
        redis.thaw().unwrap();
        assert!(answers(port));
        redis.kill();
        assert!(!answers(port));
        redis.restart().unwrap();
        assert_eq!((redis.port(), redis.cli(&["GET", "a"]).unwrap().as_str()), (port, ""));
    }
}
