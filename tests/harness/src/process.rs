//! A child process that dies with the test, and the waiting for it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a server may take to start on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(5);

/// A port nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Asks again and again until it is so; `what` is for the error.
pub fn wait_until(what: &str, is_so: impl FnMut() -> bool) -> Result<()> {
    match comes_within(PATIENCE, is_so) {
        true => Ok(()),
        false => bail!("{what}: not within {} s", PATIENCE.as_secs()),
    }
}

/// Whether it is so within that time. Nobody tells of what another program does: it is asked again and again.
pub(crate) fn comes_within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

/// A running child; dropped, it is killed.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program`, as `user` where one is given and the test runs as root.
    pub(crate) fn start(program: &str, user: Option<&str>, set: impl FnOnce(&mut Command)) -> Result<Self> {
        // The kernel kills the server when the thread that started it ends, however it ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = user.filter(|_| is_root()) {
            command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
        }
        command.arg("--").arg(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        set(&mut command);
        let child =
            command.spawn().with_context(|| format!("{program} does not start; run make test-deps"))?;
        Ok(Self { child })
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits for the end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, for example `STOP` or `TERM`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status()?;
        if !status.success() {
            bail!("signal {name} was not sent");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether this test runs as root, which some servers refuse to.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}
