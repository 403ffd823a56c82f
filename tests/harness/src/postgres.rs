//! A PostgreSQL server for one test: its own folder, its own port, gone with the test.
//!
//! `initdb` takes a second, so that it runs once per machine, version and user; every server starts on
//! a copy of what it made. Invariant: a server that was killed with `kill -9` can be started again on
//! the same data and the same port, since that is what the fault tests are about.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{PATIENCE, Process, comes_within, free_port, is_root, wait_until};

/// The account that runs the server when the test runs as root, which PostgreSQL refuses to.
const ACCOUNT: &str = "postgres";
/// The superuser of every test server; no password, since it listens on the loopback only.
const SUPERUSER: &str = "postgres";
/// The database that [`Postgres::url`] names.
const DATABASE: &str = "bul";
/// Where Debian keeps the programs, one folder per major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Times a server is started before giving up: another process may take its port first, or the
/// shared memory of one that was killed is still in use for a moment.
const START_TRIES_MAX: u32 = 20;
/// Free memory from which on a server's folder may stand in it.
const MEMORY_KIB_MIN: u64 = 2 * 1024 * 1024;
/// How long a server may take for the immediate shutdown before it is killed.
const DROP_MAX: Duration = Duration::from_secs(3);
/// Raised when what is in the template changes.
const TEMPLATE_VERSION: u32 = 2;

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Syncs to the disk, as a real server does. Off, a test server is several times faster.
    pub fsync: bool,
    /// Further settings, for example `("max_connections", "20")`.
    pub settings: Vec<(String, String)>,
    /// Where its folder stands, for example a small file system that fills up; a usual place if absent.
    pub place: Option<PathBuf>,
    /// Environment of the server, for example a false clock.
    pub environment: Vec<(String, String)>,
}

/// A running (or killed) server; dropped, it ends at once and its folder is removed.
pub struct Postgres {
    /// Before `folder`, so that it is dropped first.
    pub(crate) process: Option<Process>,
    pub(crate) folder: TempDir,
    pub(crate) programs: PathBuf,
    pub(crate) port: u16,
    pub(crate) options: PostgresOptions,
    pub(crate) databases: AtomicU32,
}

impl Postgres {
    /// Starts a server that does not sync.
    pub fn start() -> Result<Self> {
        Self::start_with(PostgresOptions::default())
    }

    /// Starts a server.
    pub fn start_with(options: PostgresOptions) -> Result<Self> {
        let programs = programs()?;
        let template = template(&programs, &options)?;
        let folder = account_folder(&options)?;
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(data(folder.path())))?;
        let mut server =
            Self { process: None, folder, programs, port: 0, options, databases: AtomicU32::new(0) };
        for _ in 0..START_TRIES_MAX {
            server.port = free_port();
            if server.try_start()? {
                return Ok(server);
            }
        }
        bail!("PostgreSQL does not start: {}", server.log())
    }

    /// DSN of the superuser and a database that is empty at first.
    pub fn url(&self) -> String {
        self.url_of(SUPERUSER, DATABASE)
    }

    /// DSN of any account and database of this server.
    pub fn url_of(&self, account: &str, database: &str) -> String {
        format!("postgres://{account}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a further empty database; its DSN.
    pub fn new_database(&self) -> Result<String> {
        let name = format!("bul_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql(&format!("CREATE DATABASE {name}"))?;
        Ok(self.url_of(SUPERUSER, &name))
    }

    /// Runs SQL as the superuser in the database of [`Self::url`]; rows as lines, columns between `|`.
    pub fn psql(&self, sql: &str) -> Result<String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.url())
            .arg("-c")
            .arg(sql)
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// The port on the loopback; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// `kill -9` of the postmaster: what was committed is there after [`Self::restart`].
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The fast shutdown: open transactions are rolled back, clients are told, data is written.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal("INT")?;
        wait_until("PostgreSQL stops", || !process.is_running())
    }

    /// Starts again on the same data and port, killing what still runs.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        // What is left of the one that was killed may still hold the port.
        let mut failed = None;
        let is_started = comes_within(PATIENCE, || match self.try_start() {
            Ok(is_started) => is_started,
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        match failed {
            Some(error) => Err(error),
            None if is_started => Ok(()),
            None => bail!("PostgreSQL does not start again: {}", self.log()),
        }
    }

    /// Waits until it answers again after a fault, and starts it where the fault has ended it.
    pub fn revive(&mut self) -> Result<()> {
        let is_back = comes_within(PATIENCE, || {
            let has_ended = !self.process.as_mut().is_some_and(Process::is_running);
            self.psql("SELECT 1").is_ok() || (has_ended && self.restart().is_ok())
        });
        if is_back { Ok(()) } else { bail!("PostgreSQL does not come back: {}", self.log()) }
    }

    /// Whether a server that was started is ready; one that ends instead is an answer, not an error.
    fn try_start(&mut self) -> Result<bool> {
        let data = data(self.folder.path());
        let log = File::create(self.folder.path().join("log"))?;
        let program = self.programs.join("postgres");
        let program = program.to_str().context("the path of postgres is not UTF-8")?;
        let (settings, environment) = (self.settings(), self.options.environment.clone());
        // By `env`, once the account is the server's: what a library makes when it is loaded must be its own.
        let mut process = Process::start("env", Some(ACCOUNT), |command| {
            command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
            command.arg(program).arg("-D").arg(&data).stderr(log);
            for (name, value) in &settings {
                command.arg("-c").arg(format!("{name}={value}"));
            }
        })?;
        let status = data.join("postmaster.pid");
        let pid = process.id().to_string();
        let mut ended = false;
        wait_until("PostgreSQL starts", || {
            ended = !process.is_running();
            ended || is_ready(&status, &pid)
        })?;
        if ended {
            return Ok(false);
        }
        self.process = Some(process);
        Ok(true)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let sync = if self.options.fsync { "on" } else { "off" };
        let port = self.port.to_string();
        let fixed = [
            ("port", port.as_str()),
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("fsync", sync),
            ("full_page_writes", sync),
            ("shared_buffers", "32MB"),
            // In the server's folder, not in /dev/shm, where a killed server's would stay for ever.
            ("dynamic_shared_memory_type", "mmap"),
            ("log_min_messages", "warning"),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        fixed.chain(self.options.settings.iter().cloned()).collect()
    }

    /// What the server said last.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// An empty folder of the server's account.
pub(crate) fn account_folder(options: &PostgresOptions) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("bul-postgres-").tempdir_in(place(options))?;
    if is_root() {
        run(Command::new("chown").arg(ACCOUNT).arg(folder.path()))?;
    }
    Ok(folder)
}

/// Where the server's folder stands: in memory, if it need not outlive a power failure and there is room.
fn place(options: &PostgresOptions) -> PathBuf {
    if let Some(place) = &options.place {
        return place.clone();
    }
    let memory = PathBuf::from("/dev/shm");
    if options.fsync || kib_free(&memory).is_none_or(|free| free < MEMORY_KIB_MIN) {
        return std::env::temp_dir();
    }
    memory
}

fn kib_free(folder: &Path) -> Option<u64> {
    let output = Command::new("df").args(["--output=avail", "-k"]).arg(folder).output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().nth(1)?.trim().parse().ok()
}

impl Drop for Postgres {
    /// The immediate shutdown: `kill -9` would leave a segment of shared memory behind for each server, of
    /// which the kernel has only some thousands.
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take()
            && process.signal("QUIT").is_ok()
        {
            comes_within(DROP_MAX, || !process.is_running());
        }
    }
}

pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The server writes its process id in the first line and "ready" in the last. A file that a killed
/// server left behind names another process.
fn is_ready(status: &Path, pid: &str) -> bool {
    let Ok(text) = fs::read_to_string(status) else { return false };
    let mut lines = text.lines();
    lines.next() == Some(pid) && lines.last().is_some_and(|line| line.trim() == "ready")
}

/// Folder of the newest installed programs.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").is_file().then_some((version, bin))
        })
        .max();
    if let Some((_, bin)) = newest {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").is_file())
        .context("PostgreSQL is not installed; run make test-deps")
}

/// A data folder with an empty database, made once. A lock keeps two processes from making it at the
/// same time, and the rename keeps a half-made one from ever being used.
fn template(programs: &Path, options: &PostgresOptions) -> Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
    let version = Command::new(programs.join("postgres")).arg("--version").output()?.stdout;
    let version = String::from_utf8_lossy(&version).split(' ').nth(2).unwrap_or("0").trim().to_owned();
    let uid = fs::metadata("/proc/self")?.uid();
    // Segments of the log in MiB: as on a real server, or as few bytes to copy as possible.
    let segment = if options.fsync { 16 } else { 1 };
    let name = format!("bul-postgres-{version}-{uid}-{segment}-{TEMPLATE_VERSION}");
    let done = std::env::temp_dir().join(&name);
    if done.is_dir() {
        return Ok(done);
    }
    let lock = File::create(std::env::temp_dir().join(format!("{name}.lock")))?;
    lock.lock()?;
    if done.is_dir() {
        return Ok(done);
    }
    let making = tempfile::Builder::new().prefix(&name).tempdir()?;
    if is_root() {
        run(Command::new("chown").arg(ACCOUNT).arg(making.path()))?;
    }
    let data = data(making.path());
    run(as_account(&programs.join("initdb")).arg("-D").arg(&data).args([
        "-U",
        SUPERUSER,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]))?;
    let mut single = as_account(&programs.join("postgres"))
        .args(["--single", "-F", "-D"])
        .arg(&data)
        .arg("template1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // The databases that no test needs are two thirds of what would be copied for each.
    let script = format!(
        "UPDATE pg_database SET datistemplate = false WHERE datname = 'template0'\nDROP DATABASE template0\n\
         DROP DATABASE postgres\nCREATE DATABASE {DATABASE}\n"
    );
    single.stdin.take().context("no stdin")?.write_all(script.as_bytes())?;
    if !single.wait()?.success() {
        bail!("the template's database was not made");
    }
    fs::rename(&data, &done)?;
    Ok(done)
}

/// A command that runs as the server's account where the test runs as root.
pub(crate) fn as_account(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={ACCOUNT}"))
        .arg(format!("--regid={ACCOUNT}"))
        .args(["--clear-groups", "--"])
        .arg(program)
        .current_dir(std::env::temp_dir());
    command
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
