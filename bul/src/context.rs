//! Global flags, the loaded configuration and how results are printed.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use bul_config::{Config, Loaded, Sources};
use serde::Serialize;

use crate::exit::Fault;

/// Form of results on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Flags of every command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Form of results
    #[arg(short, long, global = true, value_enum, default_value = "text", value_name = "FORM")]
    pub output: Output,
    /// Go to the store and broker directly, without a server
    #[arg(long, global = true)]
    pub direct: bool,
    /// Server for client commands
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// More log lines on stderr
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    /// Configuration and origins.
    pub loaded: Loaded,
    /// Form of results.
    pub output: Output,
    /// Without a server.
    pub direct: bool,
    /// More log lines.
    pub verbose: bool,
    /// The configuration file that was asked for.
    pub file: Option<PathBuf>,
}

impl Context {
    /// Reads all layers of the configuration; `flags` are option paths and values of the command's own flags.
    pub fn load(global: Global, mut flags: Vec<(String, String)>) -> anyhow::Result<Self> {
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let mut search = vec![PathBuf::from("bul.toml")];
        let home = environment.get("HOME").map(PathBuf::from);
        let xdg = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).or(home.map(|h| h.join(".config")));
        search.extend(xdg.map(|folder| folder.join("bul/bul.toml")));
        search.push(PathBuf::from("/etc/bul/bul.toml"));
        flags.extend(global.url.map(|url| ("url".to_owned(), url)));
        let file = global.config.clone();
        let sources = Sources { file: global.config, search, environment, flags };
        let loaded = sources.load().map_err(|e| Fault::usage(e.to_string()))?;
        Ok(Self { loaded, output: global.output, direct: global.direct, verbose: global.verbose, file })
    }

    /// The values.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Folder for the database and the local key: the option, else the XDG data folder.
    pub fn data_dir(&self) -> anyhow::Result<PathBuf> {
        let configured = &self.config().data_dir;
        if !configured.is_empty() {
            return Ok(PathBuf::from(configured));
        }
        let xdg = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        let base = xdg.or_else(home).ok_or_else(|| {
            Fault::usage("there is no home folder to keep the data in").hint("set BUL_DATA_DIR to a folder")
        })?;
        Ok(base.join("bul"))
    }

    /// File of the key that `bul up` leaves for its own user.
    pub fn local_key_file(&self) -> anyhow::Result<PathBuf> {
        Ok(self.data_dir()?.join("local.key"))
    }

    /// Sets up logging for a role (`info`) or a client command (`warn`).
    pub fn init_logs(&self, role: bool) -> anyhow::Result<()> {
        let options = &self.config().log;
        let format = match options.format.as_str() {
            "auto" => bul_telemetry::LogFormat::Auto,
            "text" => bul_telemetry::LogFormat::Text,
            "json" => bul_telemetry::LogFormat::Json,
            other => {
                return Err(
                    Fault::usage(format!("log.format must be auto, text or json, not {other:?}")).into()
                );
            }
        };
        let chosen = self.loaded.origins.contains_key("log.filter");
        let filter = match (self.verbose, chosen || role) {
            (true, _) => "debug,hyper=info,h2=info,sqlx=info",
            (false, true) => &options.filter,
            // A direct submission leaves publishing to the server on purpose: nothing to warn of.
            (false, false) => "warn,bul_producer::submit=error",
        };
        bul_telemetry::init_logs(format, filter, options.spans).map_err(|e| Fault::usage(e).into())
    }

    /// Prints a result: as one JSON document, or what `text` writes.
    pub fn print<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let mut out = match self.output {
            Output::Json => serde_json::to_string_pretty(value)?,
            Output::Text => text(),
        };
        if !out.ends_with('\n') && !out.is_empty() {
            out.push('\n');
        }
        write_stdout(out.as_bytes())
    }

    /// Whether progress bars make sense.
    pub fn shows_progress(&self) -> bool {
        self.output == Output::Text && std::io::stderr().is_terminal()
    }
}

/// Writes to stdout; a reader that has gone (`| head`) is no error.
pub fn write_stdout(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
