//! `bul config`: what the settings are, where each comes from, and whether they can work.
//!
//! Invariant: nothing here opens a port, a store or a model, and no secret is printed.

use std::collections::BTreeMap;
use std::path::Path;

use bul_config::{Config, Origin};
use bul_job::Lane;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::call::parse_url;
use crate::client::print::{cut, table};
use crate::context::Context;
use crate::exit::Exit;

/// Characters of a value in the table.
const VALUE_CHARS_MAX: usize = 44;

/// Options that only the engine's own settings can judge; its faults begin with their names.
const ENGINE_OPTIONS: [&str; 11] = [
    "model.preset",
    "model.eviction",
    "model.kv",
    "model.device",
    "model.tier_write",
    "model.trial",
    "model.tier_codec",
    "model.host_compression",
    "model.disk_compression",
    "model.tenants",
    "model.tenant_cap_percent",
];

/// The configuration: defaults < file < environment < flags.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bul config show\n  bul config check --config bul.toml\n  bul config schema > bul.schema.json"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every value; opens nothing
    #[command(
        after_help = "Example:\n  bul config check --config /etc/bul/bul.toml && systemctl restart bul"
    )]
    Check,
    /// Every value and where it comes from; secrets are not shown
    #[command(after_help = "Example:\n  bul config show -o json | jq .listen.origin")]
    Show,
    /// JSON Schema of the configuration file
    #[command(after_help = "Example:\n  bul config schema > bul.schema.json")]
    Schema,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match args.action {
        Action::Check => check(context),
        Action::Show => show(context),
        Action::Schema => {
            let schema = bul_config::schema();
            let text = serde_json::to_string_pretty(&schema)?;
            context.print(&schema, || text)?;
            Ok(Exit::Done)
        }
    }
}

fn origin_of(context: &Context, path: &str) -> String {
    context.loaded.origins.get(path).unwrap_or(&Origin::Default).to_string()
}

fn check(context: &Context) -> anyhow::Result<Exit> {
    let problems: Vec<Value> = problems(context.config())
        .into_iter()
        .map(
            |(path, message)| json!({"option": path, "origin": origin_of(context, path), "message": message}),
        )
        .collect();
    let warnings = &context.loaded.warnings;
    let result = json!({"ok": problems.is_empty(), "errors": problems, "warnings": warnings});
    context.print(&result, || {
        if problems.is_empty() { "the configuration is good".into() } else { String::new() }
    })?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    for problem in &problems {
        let part = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        eprintln!("error: {} ({}): {}", part("option"), part("origin"), part("message"));
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Usage })
}

fn show(context: &Context) -> anyhow::Result<Exit> {
    let mut values = BTreeMap::new();
    flatten("", &serde_json::to_value(context.config())?, &mut values);
    let shown: BTreeMap<&String, Value> = values
        .iter()
        .map(|(path, value)| (path, json!({"value": redacted(value), "origin": origin_of(context, path)})))
        .collect();
    context.print(&shown, || {
        let rows: Vec<Vec<String>> = values
            .iter()
            .map(|(path, value)| {
                let text = match redacted(value) {
                    Value::String(text) if text.is_empty() => "-".into(),
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                vec![path.clone(), cut(&text, VALUE_CHARS_MAX), origin_of(context, path)]
            })
            .collect();
        table(&["OPTION", "VALUE", "FROM"], &rows)
    })?;
    for warning in &context.loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(Exit::Done)
}

fn flatten(prefix: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, out);
            }
        }
        plain => {
            out.insert(prefix.to_owned(), plain.clone());
        }
    }
}

/// Addresses may carry a password; `postgres://user:secret@host` is shown as `postgres://user:***@host`, and each of
/// several that are joined by commas likewise.
fn redacted(value: &Value) -> Value {
    let Value::String(text) = value else { return value.clone() };
    let mut shown = String::new();
    for (n, piece) in text.split("://").enumerate() {
        if n == 0 {
            shown.push_str(piece);
            continue;
        }
        shown.push_str("://");
        let authority = piece.split(['/', '?', '#']).next().unwrap_or_default();
        let secret = authority.rsplit_once('@').and_then(|(login, _)| login.split_once(':'));
        let piece = match secret {
            Some((user, secret)) => format!("{user}:***{}", &piece[user.len() + 1 + secret.len()..]),
            None => piece.to_owned(),
        };
        shown.push_str(&without_password_parameter(&piece));
    }
    Value::String(shown)
}

/// `…?password=secret&…`, which an address of PostgreSQL may have.
fn without_password_parameter(piece: &str) -> String {
    let Some((address, query)) = piece.split_once('?') else { return piece.to_owned() };
    let hidden = |parameter: &str| match parameter.starts_with("password=") {
        true => "password=***".to_owned(),
        false => parameter.to_owned(),
    };
    let parameters: Vec<String> = query.split('&').map(hidden).collect();
    format!("{address}?{}", parameters.join("&"))
}

/// Everything that is wrong, by option.
fn problems(config: &Config) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let is_store = config.store.is_empty()
        || ["postgres://", "postgresql://"].iter().any(|scheme| config.store.starts_with(scheme))
        || config.store.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty());
    if !is_store {
        found.push(("store", "must be sqlite:PATH, postgres://…, or empty for the data folder".into()));
    }
    if crate::wire::broker_spec(config).is_err() {
        found.push((
            "broker",
            "must be embedded, nats://host:4222 or amqp://user:password@host:5672, several joined by commas"
                .into(),
        ));
    }
    let engine = crate::engine::options(config, None).map(drop);
    if let Err(fault) = engine.and_then(|()| crate::engine::trial_options(config, None).map(drop)) {
        let text = fault.to_string();
        let option = ENGINE_OPTIONS.iter().find(|option| text.starts_with(&format!("{option}:")));
        found.push((option.unwrap_or(&"model.preset"), text));
    }
    if crate::wire::redis_options(config).is_err() {
        found.push(("redis", "must be redis://:password@host:6379/0, rediss://…, or empty".into()));
    }
    if let Err(why) = address(&config.listen) {
        found.push(("listen", why));
    }
    if !config.metrics_listen.is_empty() {
        match address(&config.metrics_listen) {
            Err(why) => found.push(("metrics_listen", why)),
            Ok(()) if config.metrics_listen == config.listen && !config.listen.ends_with(":0") => {
                found.push(("metrics_listen", "must differ from listen, or be empty".into()));
            }
            Ok(()) => {}
        }
    }
    if let Err(fault) = parse_url(&config.url) {
        found.push(("url", fault.message));
    }
    if !config.templates_dir.is_empty() && !Path::new(&config.templates_dir).is_dir() {
        found.push(("templates_dir", format!("{} is no folder", config.templates_dir)));
    }
    if let Some(why) = model(&config.model.spec) {
        found.push(("model.spec", why));
    }
    found.extend(numbers(config));
    for lane in config.worker.lanes.iter().filter(|lane| Lane::parse(lane).is_none()) {
        found
            .push(("worker.lanes", format!("unknown lane {lane:?}, expected critical, high, normal or low")));
    }
    if !["auto", "text", "json"].contains(&config.log.format.as_str()) {
        found.push(("log.format", "must be auto, text or json".into()));
    }
    found
}

/// Ranges outside of which a process would stand still or fall over.
fn numbers(config: &Config) -> Vec<(&'static str, String)> {
    let (model, worker, retry, limits) = (&config.model, &config.worker, &config.retry, &config.limits);
    let ranges: [(&'static str, u64, u64, u64); 18] = [
        ("broker_partitions", config.broker_partitions.into(), 1, bul_job::PARTITIONS_MAX.into()),
        ("broker_bundle_max", config.broker_bundle_max as u64, 1, 64),
        ("model.threads", model.threads as u64, 0, 1_024),
        ("model.kv_mib_max", model.kv_mib_max as u64, 0, 1 << 20),
        ("model.running_max", model.running_max as u64, 0, 1_024),
        ("worker.concurrency", worker.concurrency as u64, 1, 1_024),
        ("worker.replicas", worker.replicas as u64, 1, 256),
        ("worker.lease_s", worker.lease_s, 5, 3_600),
        ("worker.grace_s", worker.grace_s, 0, 3_600),
        ("worker.attempt_s_max", worker.attempt_s_max, 1, 86_400),
        ("model.session_turns", model.session_turns as u64, 0, bul_store::TURNS_MAX as u64),
        ("worker.newer_s_max", worker.newer_s_max, 0, 7 * 86_400),
        ("worker.keep_texts_after_ms", worker.keep_texts_after_ms, 0, 86_400_000),
        ("retry.base_ms", retry.base_ms, 1, 3_600_000),
        ("retry.cap_ms", retry.cap_ms, 1, 86_400_000),
        ("retry.crashes_max", retry.crashes_max.into(), 1, 1_000),
        ("limits.broker_messages_max", limits.broker_messages_max as u64, 1, 100_000_000),
        ("limits.requests_max", limits.requests_max as u64, 1, 1_000_000),
    ];
    let mut found: Vec<(&'static str, String)> = ranges
        .into_iter()
        .filter(|(_, value, min, max)| value < min || value > max)
        .map(|(path, value, min, max)| (path, format!("is {value}, must be {min} to {max}")))
        .collect();
    if retry.base_ms > retry.cap_ms {
        found.push((
            "retry.base_ms",
            format!("is {}, must be at most retry.cap_ms = {}", retry.base_ms, retry.cap_ms),
        ));
    }
    found
}

/// `host:port`; a name is not looked up.
fn address(text: &str) -> Result<(), String> {
    let wrong = || format!("{text:?} must be HOST:PORT such as 127.0.0.1:8002");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host.contains(char::is_whitespace) || (host.contains(':') && !bracketed) {
        return Err(wrong());
    }
    port.parse::<u16>().map(|_| ()).map_err(|_| format!("{port:?} is no port number"))
}

fn model(spec: &str) -> Option<String> {
    if spec.is_empty() || spec == "scripted" {
        return None;
    }
    if let Some(url) = spec.strip_prefix("openai+") {
        let (url, name) = url.split_once('#').unwrap_or((url, ""));
        if let Err(fault) = parse_url(url) {
            return Some(fault.message);
        }
        return name
            .is_empty()
            .then(|| "must end in #MODEL, for example openai+https://host/v1#model".into());
    }
    let path = Path::new(spec);
    if !path.exists() {
        return Some(format!(
            "{spec} does not exist; expected a folder, a .gguf file, openai+URL#MODEL or scripted"
        ));
    }
    let file_ok = path.is_dir() || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    (!file_ok).then(|| format!("{spec} is neither a folder nor a .gguf file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config), option: Option<&str>) {
        let mut config = Config::default();
        change(&mut config);
        let found: Vec<&str> = problems(&config).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, option.into_iter().collect::<Vec<_>>(), "{config:?}");
    }

    #[test]
    fn the_defaults_are_good() {
        check(|_| {}, None);
        check(|c| c.listen = "[::1]:0".into(), None);
        check(|c| c.listen = "localhost:80".into(), None);
        check(|c| c.model.spec = "openai+https://h/v1#m".into(), None);
        check(|c| c.worker.lanes = vec!["High".into(), "low".into()], None);
    }

    #[test]
    fn each_mistake_is_found() {
        check(|c| c.store = "mysql://x".into(), Some("store"));
        check(|c| c.store = "sqlite:".into(), Some("store"));
        check(|c| c.broker = "kafka".into(), Some("broker"));
        check(|c| c.listen = "8002".into(), Some("listen"));
        check(|c| c.listen = "::1:80".into(), Some("listen"));
        check(|c| c.metrics_listen = "127.0.0.1:99999".into(), Some("metrics_listen"));
        check(|c| c.metrics_listen = c.listen.clone(), Some("metrics_listen"));
        check(|c| c.url = "localhost:8002".into(), Some("url"));
        check(|c| c.templates_dir = "/does/not/exist".into(), Some("templates_dir"));
        check(|c| c.model.spec = "/does/not/exist".into(), Some("model.spec"));
        check(|c| c.model.spec = "openai+https://h/v1".into(), Some("model.spec"));
        check(|c| c.model.preset = "fast".into(), Some("model.preset"));
        check(|c| c.model.eviction = "random".into(), Some("model.eviction"));
        check(|c| c.model.kv = "int2".into(), Some("model.kv"));
        check(|c| c.model.device = "cuda:0,gpu".into(), Some("model.device"));
        check(|c| c.model.device = "cuda,cuda:0".into(), Some("model.device"));
        check(|c| c.model.device = "auto,cuda:0".into(), Some("model.device"));
        check(|c| c.model.device = "cpu,cuda:0".into(), Some("model.device"));
        check(|c| c.model.device = "cpu,cpu".into(), None);
        check(|c| c.model.tier_write = "twice".into(), Some("model.tier_write"));
        check(|c| c.model.tenant_cap_percent = 101, Some("model.tenant_cap_percent"));
        let floors = |c: &mut Config| {
            for name in ["a", "b"] {
                let share = bul_config::TenantShare { floor_percent: 50, cap_percent: 0 };
                c.model.tenants.insert(name.into(), share);
            }
        };
        check(floors, Some("model.tenants"));
        check(|c| c.worker.concurrency = 0, Some("worker.concurrency"));
        check(|c| c.worker.lanes = vec!["fast".into()], Some("worker.lanes"));
        check(|c| c.retry.base_ms = c.retry.cap_ms + 1, Some("retry.base_ms"));
        check(|c| c.log.format = "xml".into(), Some("log.format"));
    }

    #[test]
    fn passwords_in_addresses_are_hidden() {
        let check = |text: &str, expected: &str| assert_eq!(redacted(&json!(text)), json!(expected));
        check("postgres://u:geheim@h/db", "postgres://u:***@h/db");
        check("postgres://u:p@ss@h/db", "postgres://u:***@h/db");
        check("postgres://u:geheim@a,b:5/db?x=y", "postgres://u:***@a,b:5/db?x=y");
        check("postgres://u@/db?host=a,b&password=geheim&x=y", "postgres://u@/db?host=a,b&password=***&x=y");
        check("nats://u:geheim@a,nats://v:geheim@b", "nats://u:***@a,nats://v:***@b");
        check("amqp://u:geheim@a:1/v,amqps://u:geheim@b", "amqp://u:***@a:1/v,amqps://u:***@b");
        check("http://127.0.0.1:8002", "http://127.0.0.1:8002");
        check("sqlite:x", "sqlite:x");
    }
}
