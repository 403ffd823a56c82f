//! Layers of configuration and where each value came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::Config;
use crate::variables::{SECRETS, VARIABLES};

/// Largest configuration or secret file, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A value has the wrong type or an unknown key.
    #[error("{origin}: {message}")]
    Value {
        /// Where it came from.
        origin: String,
        /// What is wrong.
        message: String,
    },
}

/// What the layers are read from; tests give their own.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config FILE`: must exist.
    pub file: Option<PathBuf>,
    /// Files that are read when they exist, the first that does.
    pub search: Vec<PathBuf>,
    /// Environment.
    pub environment: BTreeMap<String, String>,
    /// Flags: option path and value.
    pub flags: Vec<(String, String)>,
}

/// A configuration with its origins.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Origin by option path; what is missing is a default.
    pub origins: BTreeMap<String, Origin>,
    /// Doubts that are no errors, such as variables with unknown names.
    pub warnings: Vec<String>,
}

impl Sources {
    /// Reads all layers.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut origins = BTreeMap::new();
        let mut table = Table::new();
        if let Some(path) = self.file.clone().or_else(|| self.search.iter().find(|p| p.is_file()).cloned()) {
            table = read_table(&path)?;
            note(&table, "", &Origin::File(path.clone()), &mut origins);
            // Checked alone first, so that an error is blamed on the file and not on a later layer.
            parse(table.clone(), &path.display().to_string())?;
        }
        let mut warnings = Vec::new();
        for (name, value) in &self.environment {
            self.apply_variable(name, value, &mut table, &mut origins, &mut warnings)?;
        }
        for (path, value) in &self.flags {
            set(&mut table, path, value, &format!("--{path}"))?;
            origins.insert(path.clone(), Origin::Flag(path.clone()));
        }
        let config = parse(table, "configuration")?;
        Ok(Loaded { config, origins, warnings })
    }

    fn apply_variable(
        &self,
        name: &str,
        value: &str,
        table: &mut Table,
        origins: &mut BTreeMap<String, Origin>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let plain = VARIABLES.iter().find(|(n, _)| *n == name);
        let from_file = VARIABLES
            .iter()
            .find(|(n, path)| SECRETS.contains(path) && name.strip_suffix("_FILE") == Some(*n))
            .filter(|_| !value.is_empty());
        if let Some((variable, path)) = from_file {
            if self.environment.contains_key(*variable) {
                let message = format!("set either {variable} or {name}, not both");
                return Err(ConfigError::Value { origin: format!("${name}"), message });
            }
            let secret = read_text(Path::new(value))?;
            set(table, path, secret.trim_end_matches(['\n', '\r']), &format!("${name}"))?;
            origins.insert((*path).into(), Origin::Environment(name.into()));
        } else if let Some((_, path)) = plain {
            set(table, path, value, &format!("${name}"))?;
            origins.insert((*path).into(), Origin::Environment(name.into()));
        } else if name.starts_with("BUL_") && !name.starts_with("BUL_TEST_") {
            warnings.push(format!("${name} is no known variable and has no effect"));
        }
        Ok(())
    }
}

fn parse(table: Table, origin: &str) -> Result<Config, ConfigError> {
    Value::Table(table).try_into().map_err(|e: toml::de::Error| ConfigError::Value {
        origin: origin.into(),
        message: e.message().to_owned(),
    })
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let error = |reason: String| ConfigError::File { path: path.into(), reason };
    let size = std::fs::metadata(path).map_err(|e| error(e.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(error(format!("has {size} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    std::fs::read_to_string(path).map_err(|e| error(e.to_string()))
}

fn read_table(path: &Path) -> Result<Table, ConfigError> {
    read_text(path)?
        .parse()
        .map_err(|e: toml::de::Error| ConfigError::File { path: path.into(), reason: e.to_string() })
}

fn note(table: &Table, prefix: &str, origin: &Origin, origins: &mut BTreeMap<String, Origin>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => note(inner, &path, origin, origins),
            _ => {
                origins.insert(path, origin.clone());
            }
        }
    }
}

/// Sets a value given as text; its type is that of the default.
fn set(table: &mut Table, path: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
    let error = |message: String| ConfigError::Value { origin: origin.into(), message };
    let defaults = Table::try_from(Config::default()).map_err(|e| error(e.to_string()))?;
    let default =
        path.split('.').try_fold(&Value::Table(defaults.clone()), |value, key| value.get(key)).cloned();
    let value = match default {
        None => return Err(error(format!("there is no option {path}"))),
        Some(Value::Integer(_)) => text
            .trim()
            .parse::<u32>()
            .map(|n| Value::Integer(n.into()))
            .map_err(|_| error(format!("{path} must be a whole number, not {text:?}")))?,
        Some(Value::Boolean(_)) => text
            .trim()
            .parse::<bool>()
            .map(Value::Boolean)
            .map_err(|_| error(format!("{path} must be true or false, not {text:?}")))?,
        Some(Value::Array(_)) => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(|s| Value::String(s.into()))
                .collect(),
        ),
        Some(Value::Table(_)) => inline_table(text).ok_or_else(|| {
            error(format!("{path} must be an inline table of TOML, such as {{a = {{b = 1}}}}"))
        })?,
        Some(_) => Value::String(text.into()),
    };
    let mut at = table;
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().unwrap_or(path);
    for key in keys {
        at = at
            .entry(key)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| error(format!("{key} must be a table")))?;
    }
    at.insert(last.into(), value);
    Ok(())
}

fn inline_table(text: &str) -> Option<Value> {
    if text.trim().is_empty() {
        return Some(Value::Table(Table::new()));
    }
    // A line end would let the text go on with other keys.
    let one_line = !text.contains(['\n', '\r']);
    let parsed: Table = one_line.then(|| format!("value = {text}").parse().ok()).flatten()?;
    parsed.get("value").filter(|value| value.is_table()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(
        toml: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bul.toml");
        std::fs::write(&path, toml).unwrap();
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>()
        };
        let sources = Sources {
            file: Some(path),
            search: vec![],
            environment: pairs(environment).into_iter().collect(),
            flags: pairs(flags),
        };
        (folder, sources)
    }

    fn error(toml: &str, environment: &[(&str, &str)]) -> String {
        sources(toml, environment, &[]).1.load().unwrap_err().to_string()
    }

    #[test]
    fn later_layers_win_and_origins_are_known() {
        let (_folder, sources) = sources(
            "listen = 'a:1'\nurl = 'b'\n[worker]\nconcurrency = 2\nlease_s = 40",
            &[("BUL_LISTEN", "c:3"), ("BUL_WORKER_CONCURRENCY", "3"), ("BUL_WORKER_LANES", "high, low")],
            &[("worker.concurrency", "4")],
        );
        let loaded = sources.load().unwrap();
        let config = &loaded.config;
        assert_eq!((config.listen.as_str(), config.url.as_str()), ("c:3", "b"));
        assert_eq!((config.worker.concurrency, config.worker.lease_s), (4, 40));
        assert_eq!(config.worker.lanes, ["high", "low"]);
        assert_eq!(loaded.origins["listen"].to_string(), "$BUL_LISTEN");
        assert_eq!(loaded.origins["worker.concurrency"].to_string(), "--worker.concurrency");
        assert!(!loaded.origins.contains_key("broker"));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(error("lisen = 'x'", &[]).contains("lisen"));
        assert!(error("[worker]\nlease_s = 'long'", &[]).contains("bul.toml"));
        assert!(
            error("", &[("BUL_WORKER_LEASE_S", "long")]).contains("worker.lease_s must be a whole number")
        );
        assert!(error("", &[("BUL_KEY_FILE", "/does/not/exist")]).contains("/does/not/exist"));
        assert!(error("not toml", &[]).contains("bul.toml"));
    }

    #[test]
    fn tables_are_named_freely_and_come_from_a_variable_as_one_line() {
        let toml = "[model]\ntenant_cap_percent = 30\n[model.tenants.acme]\nfloor_percent = 20";
        let (_folder, from_file) = sources(toml, &[], &[]);
        let loaded = from_file.load().unwrap();
        let acme = loaded.config.model.tenants["acme"];
        assert_eq!(
            (loaded.config.model.tenant_cap_percent, acme.floor_percent, acme.cap_percent),
            (30, 20, 0)
        );
        assert!(loaded.origins.contains_key("model.tenants.acme.floor_percent"));
        let given = "{other = {cap_percent = 5}}";
        let (_folder, over) = sources(toml, &[("BUL_MODEL_TENANTS", given)], &[]);
        let tenants = over.load().unwrap().config.model.tenants;
        assert_eq!(tenants.keys().collect::<Vec<_>>(), ["other"], "the later layer replaces the table");
        for wrong in ["7", "acme", "{acme = {floor = 7}}", "{acme = {floor_percent = 'x'}}", "{}\n[worker]"] {
            assert!(!error("", &[("BUL_MODEL_TENANTS", wrong)]).is_empty(), "{wrong}");
        }
        let (_folder, none) = sources(toml, &[("BUL_MODEL_TENANTS", "")], &[]);
        assert!(none.load().unwrap().config.model.tenants.is_empty());
    }

    #[test]
    fn secrets_come_from_files_and_are_never_shown() {
        let (folder, mut sources) = sources("", &[], &[]);
        let path = folder.path().join("key");
        std::fs::write(&path, "s3cret\n").unwrap();
        sources.environment.insert("BUL_MODEL_KEY_FILE".into(), path.display().to_string());
        let loaded = sources.load().unwrap();
        assert_eq!(loaded.config.model.key.expose(), "s3cret");
        let shown = format!("{:?} {}", loaded.config, serde_json::to_string(&loaded.config).unwrap());
        assert!(!shown.contains("s3cret"));
    }

    #[test]
    fn unknown_variables_are_warned_about() {
        let (_folder, sources) = sources("", &[("BUL_SOTRE", "x"), ("PATH", "y")], &[]);
        assert_eq!(sources.load().unwrap().warnings, ["$BUL_SOTRE is no known variable and has no effect"]);
    }

    #[test]
    fn every_variable_names_an_option() {
        for (name, path) in VARIABLES {
            let given = match *path {
                "worker.lanes" => "high",
                "model.tune" | "model.compare_policies" | "log.spans" => "true",
                "model.tenants" => "{acme = {floor_percent = 7}}",
                _ => "7",
            };
            let (_folder, sources) = sources("", &[(name, given)], &[]);
            assert!(sources.load().is_ok(), "{name} → {path}");
        }
    }
}
