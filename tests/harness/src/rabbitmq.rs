//! A RabbitMQ node of its own: ports, folders, cookie and port mapper, so that nothing of the machine's
//! is touched and nothing is left behind.
//!
//! The node's Erlang machine is the child itself, and it and its port mapper die with the test. Beside the
//! distribution's release stands RabbitMQ 4, where `make test-deps` has found it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{Process, free_port, wait_until};
use crate::tools::tools;

/// Debian's folder of the scripts themselves; the wrappers in the path change the user and the folder.
const SCRIPTS: &str = "usr/lib/rabbitmq/bin";
/// Folder of the tools in which RabbitMQ 4 is unpacked.
const NEWEST: &str = "rabbitmq";
/// What nodes of a cluster prove to each other; all of them listen on the loopback only.
const COOKIE: &str = "bul-tests";
/// Virtual hosts made by one call of the slow command.
const VHOSTS_AT_ONCE: u32 = 8;
/// "AMQP" and version 0-9-1.
const HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";

/// A node of RabbitMQ.
pub struct RabbitMq {
    dir: TempDir,
    ports: Ports,
    /// Shared by the nodes of a cluster, which find each other by it.
    mapper: Arc<Mutex<Process>>,
    node: Option<Process>,
    /// Where an unpacked release stands; the distribution's if absent.
    release: Option<PathBuf>,
    /// Names of virtual hosts made in advance.
    fresh: Mutex<Vec<String>>,
    made: AtomicU32,
}

#[derive(Clone, Copy)]
struct Ports {
    amqp: u16,
    between_nodes: u16,
    mapper: u16,
}

impl Ports {
    fn of_cluster(nodes: usize) -> Vec<Self> {
        let mapper = free_port();
        (0..nodes).map(|_| Self { amqp: free_port(), between_nodes: free_port(), mapper }).collect()
    }

    fn node_name(&self) -> String {
        format!("bul{}@localhost", self.amqp)
    }
}

/// What nodes are found by: their names and ports.
fn map_ports(port: u16) -> Result<Arc<Mutex<Process>>> {
    let mapper = Process::start("epmd", None, |command| {
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
    })?;
    wait_until("the port mapper listens", || connect(port).is_some())?;
    Ok(Arc::new(Mutex::new(mapper)))
}

/// The folder of another release that all tests are to run on.
fn other_release() -> Option<PathBuf> {
    std::env::var_os("BUL_TEST_RABBITMQ").map(PathBuf::from)
}

impl RabbitMq {
    /// Starts an empty node and waits until it takes connections. `BUL_TEST_RABBITMQ` names the folder of another
    /// unpacked release, to run all tests on it.
    pub fn start() -> Result<Self> {
        Self::start_with(other_release(), |_| Ok(String::new()))
    }

    /// Starts an empty node of RabbitMQ 4; `None` where it is not installed.
    pub fn start_newest() -> Result<Option<Self>> {
        Self::newest().map(|release| Self::start_with(Some(release), |_| Ok(String::new()))).transpose()
    }

    /// Where RabbitMQ 4 is unpacked; `None`, with a printed note, where it is not installed.
    pub fn newest() -> Option<PathBuf> {
        let release = tools().join(NEWEST);
        let is_there = release.join("bin/erl").exists();
        if !is_there {
            eprintln!("not run: RabbitMQ 4 is not installed; make test-deps says why");
        }
        is_there.then_some(release)
    }

    /// Starts nodes that form one cluster; a quorum queue stands on all of them.
    pub fn start_cluster(nodes: usize) -> Result<Vec<Self>> {
        let ports: Vec<Ports> = Ports::of_cluster(nodes);
        let mapper = map_ports(ports[0].mapper)?;
        let members: String = (ports.iter().enumerate())
            .map(|(n, ports)| format!("cluster_formation.classic_config.nodes.{n} = {}\n", ports.node_name()))
            .collect();
        let form = format!("cluster_formation.peer_discovery_backend = classic_config\n{members}");
        let mut started = Vec::new();
        for ports in &ports {
            let further = |_: &Path| Ok(form.clone());
            let mut node = Self::prepare(other_release(), *ports, Arc::clone(&mapper), further)?;
            node.launch()?;
            started.push(node);
        }
        // Together: each looks for the others before it takes connections.
        for node in &mut started {
            node.wait()?;
        }
        let sees_all = |node: &Self| {
            let status = node.ctl(&["cluster_status", "--formatter", "json"]).unwrap_or_default();
            let running = status.split("\"running_nodes\":[").nth(1).and_then(|rest| rest.split(']').next());
            running.is_some_and(|running| ports.iter().all(|ports| running.contains(&ports.node_name())))
        };
        wait_until("the nodes form a cluster", || started.iter().all(sees_all))?;
        Ok(started)
    }

    /// Starts a node that also takes encrypted connections; with the address and the certificate.
    pub fn start_tls() -> Result<(Self, String, String)> {
        let port = free_port();
        let server = Self::start_with(other_release(), |dir| certify(dir, port))?;
        let certificate = std::fs::read_to_string(server.dir.path().join("cert.pem"))?;
        Ok((server, format!("amqps://guest:guest@localhost:{port}/%2f"), certificate))
    }

    fn start_with(release: Option<PathBuf>, further: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        let ports = Ports::of_cluster(1)[0];
        let mut server = Self::prepare(release, ports, map_ports(ports.mapper)?, further)?;
        server.run()?;
        Ok(server)
    }

    fn prepare(
        release: Option<PathBuf>,
        ports: Ports,
        mapper: Arc<Mutex<Process>>,
        further: impl FnOnce(&Path) -> Result<String>,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bul-rabbitmq-").tempdir()?;
        configure(dir.path(), ports.amqp, &further(dir.path())?)?;
        let (fresh, made) = (Mutex::default(), AtomicU32::new(0));
        Ok(Self { dir, ports, mapper, node: None, release, fresh, made })
    }

    /// Port for clients.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// Address of the default virtual host.
    pub fn url(&self) -> String {
        self.url_of("/")
    }

    /// Address of a virtual host.
    pub fn url_of(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{}", self.ports.amqp, vhost.replace('/', "%2f"))
    }

    /// Address of a virtual host that nobody has used.
    pub fn new_vhost(&self) -> Result<String> {
        let mut fresh = self.fresh.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if fresh.is_empty() {
            let from = self.made.fetch_add(VHOSTS_AT_ONCE, Ordering::SeqCst);
            // One call for several: each starts an Erlang machine, which takes a second.
            self.ctl(&["eval", &make_vhosts(from..from + VHOSTS_AT_ONCE)])?;
            fresh.extend((from..from + VHOSTS_AT_ONCE).map(|n| format!("v{n}")));
        }
        fresh.pop().map(|name| self.url_of(&name)).context("a virtual host was just made")
    }

    /// `rabbitmqctl` on this node; its output.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.script("rabbitmqctl"));
        self.environment(&mut command);
        let output =
            command.arg("--quiet").args(args).stdin(Stdio::null()).output().context("rabbitmqctl")?;
        if !output.status.success() {
            bail!("rabbitmqctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Pulls the plug: the node is gone before it has written anything more.
    pub fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill();
        }
    }

    /// Asks the node to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut node) = self.node.take() else { return Ok(()) };
        node.signal("TERM")?;
        wait_until("the node stops", || !node.is_running())
    }

    /// Starts it again on the same port and folder; killed before if it runs.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.run()
    }

    /// Pulls the plug, loses the disk, and starts an empty node on the same port.
    pub fn wipe(&mut self) -> Result<()> {
        self.kill();
        std::fs::remove_dir_all(self.data())?;
        self.fresh.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
        self.run()
    }

    /// Holds the node as it is: sockets stay open, and nothing answers.
    pub fn freeze(&self) -> Result<()> {
        self.node.as_ref().context("the node does not run")?.signal("STOP")
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self) -> Result<()> {
        self.node.as_ref().context("the node does not run")?.signal("CONT")
    }

    /// The end of its log, to look at after a failure.
    pub fn log(&self) -> String {
        let read = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path()).unwrap_or_default();
        let logs = std::fs::read_dir(self.dir.path().join("log")).into_iter().flatten().flatten().map(read);
        logs.collect::<Vec<_>>().join("\n")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("mnesia")
    }

    fn script(&self, name: &str) -> PathBuf {
        let root = self.release.clone().unwrap_or_else(|| "/".into());
        root.join(SCRIPTS).join(name)
    }

    fn run(&mut self) -> Result<()> {
        self.launch()?;
        self.wait()
    }

    fn launch(&mut self) -> Result<()> {
        if !self.mapper.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_running() {
            bail!("the port mapper has ended");
        }
        let program = self.script("rabbitmq-server");
        let node = Process::start(&program.to_string_lossy(), None, |command| self.environment(command))?;
        self.node = Some(node);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let amqp = self.ports.amqp;
        let node = self.node.as_mut().context("the node was not started")?;
        let up = wait_until("RabbitMQ takes connections", || greets(amqp) || !node.is_running());
        if up.is_err() || !node.is_running() {
            self.kill();
            bail!("RabbitMQ does not start: {}", self.log());
        }
        Ok(())
    }

    fn environment(&self, command: &mut Command) {
        let dir = self.dir.path();
        let Ports { between_nodes, mapper, .. } = self.ports;
        if let Some(release) = &self.release {
            // Its own Erlang, which the scripts take from the path.
            let path = std::env::var_os("PATH").unwrap_or_default();
            let ours = std::iter::once(release.join("bin")).chain(std::env::split_paths(&path));
            if let Ok(path) = std::env::join_paths(ours) {
                command.env("PATH", path);
            }
        }
        command
            .current_dir(dir)
            .env("HOME", dir)
            .env("ERL_EPMD_PORT", mapper.to_string())
            .env("ERL_INETRC", dir.join("inetrc"))
            .env("RABBITMQ_NODENAME", self.ports.node_name())
            .env("RABBITMQ_DIST_PORT", between_nodes.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.data())
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", dir.join("none.config"))
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("none.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            // Two schedulers that sleep when idle: many nodes share a small machine.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            )
            // The script then becomes the Erlang machine instead of waiting for it, so that the signal
            // at the test's end reaches the machine.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env_remove("NOTIFY_SOCKET");
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Settings: one listener on the loopback, small files, no plugins.
fn configure(dir: &Path, port: u16, further: &str) -> Result<()> {
    let settings = format!(
        "listeners.tcp.test = 127.0.0.1:{port}\n\
         log.file.level = warning\n\
         log.console = false\n\
         raft.wal_max_size_bytes = 64000000\n\
         disk_free_limit.absolute = 50MB\n\
         {further}"
    );
    std::fs::create_dir(dir.join("mnesia"))?;
    std::fs::create_dir(dir.join("log"))?;
    std::fs::write(dir.join("rabbitmq.conf"), settings)?;
    std::fs::write(dir.join("enabled_plugins"), "[].\n")?;
    std::fs::write(dir.join(".erlang.cookie"), COOKIE)?;
    std::fs::set_permissions(dir.join(".erlang.cookie"), std::fs::Permissions::from_mode(0o400))?;
    // Names from the file alone: otherwise a process of its own looks them up, and outlives the node.
    std::fs::write(dir.join("inetrc"), "{lookup, [file]}.\n{file, hosts, \"/etc/hosts\"}.\n")?;
    Ok(())
}

/// Makes a certificate of its own for localhost; the settings of a listener that shows it.
fn certify(dir: &Path, port: u16) -> Result<String> {
    let form = "[req]\ndistinguished_name = name\nx509_extensions = own\nprompt = no\n[name]\nCN = localhost\n\
                [own]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = DNS:localhost\n";
    std::fs::write(dir.join("form.cnf"), form)?;
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -config form.cnf \
                -keyout key.pem -out cert.pem";
    let made =
        Command::new("openssl").args(make.split_whitespace()).current_dir(dir).output().context("openssl")?;
    if !made.status.success() {
        bail!("openssl: {}", String::from_utf8_lossy(&made.stderr));
    }
    let file = |name: &str| dir.join(name).display().to_string();
    Ok(format!(
        "listeners.ssl.test = 127.0.0.1:{port}\n\
         ssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n\
         ssl_options.verify = verify_none\n",
        file("cert.pem"),
        file("key.pem")
    ))
}

/// Erlang that makes virtual hosts and lets the default user use them.
fn make_vhosts(numbers: std::ops::Range<u32>) -> String {
    let list: Vec<String> = numbers.map(|n| format!("<<\"v{n}\">>")).collect();
    format!(
        "[begin rabbit_vhost:add(V, <<\"test\">>), \
         rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>) \
         end || V <- [{}]].",
        list.join(", ")
    )
}

fn connect(port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()
}

/// Whether it speaks AMQP: the port is open a little before.
fn greets(port: u16) -> bool {
    let Some(mut stream) = connect(port) else { return false };
    let mut first = [0];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(HEADER).is_ok()
        && stream.read_exact(&mut first).is_ok()
        && first == [1]
}
