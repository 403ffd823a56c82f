//! Rules of the house that no compiler checks.

use std::collections::BTreeSet;

use bul_tests::{repository, run};
use serde_json::Value;

/// Which of our crates each may depend on. What is absent here is the point: documents and jobs know
/// nothing of ours, the engine never sees a job, the producer never links a model, services never see
/// an adapter or each other.
const ARROWS: &[(&str, &[&str])] = &[
    ("bul-job", &[]),
    ("bul-document", &[]),
    ("bul-runtime", &[]),
    ("bul-telemetry", &[]),
    ("bul-config", &[]),
    ("bul-store", &["bul-job"]),
    ("bul-broker", &["bul-job"]),
    ("bul-store-sqlite", &["bul-job", "bul-store"]),
    ("bul-store-postgres", &["bul-job", "bul-store"]),
    ("bul-broker-embedded", &["bul-job", "bul-broker"]),
    ("bul-broker-nats", &["bul-job", "bul-broker"]),
    ("bul-broker-rabbitmq", &["bul-job", "bul-broker"]),
    ("bul-cache", &["bul-runtime", "bul-telemetry"]),
    ("bul-harness", &[]),
    ("bul-sim", &["bul-job"]),
    ("bul-engine", &["bul-runtime"]),
    ("bul-template", &["bul-document"]),
    ("bul-pdf", &["bul-document"]),
    (
        "bul-worker",
        &[
            "bul-job",
            "bul-store",
            "bul-broker",
            "bul-engine",
            "bul-template",
            "bul-document",
            "bul-pdf",
            "bul-runtime",
            "bul-telemetry",
        ],
    ),
    (
        "bul-producer",
        &[
            "bul-job",
            "bul-store",
            "bul-broker",
            "bul-template",
            "bul-runtime",
            "bul-telemetry",
            "bul-dlq-replayer",
        ],
    ),
    ("bul-scheduler", &["bul-job", "bul-store", "bul-broker", "bul-runtime", "bul-telemetry"]),
    ("bul-dlq-replayer", &["bul-job", "bul-store", "bul-runtime"]),
];

/// The heavy crates and the one crate of ours that may link each.
const HEAVY: &[(&str, &str)] = &[
    ("typst", "bul-pdf"),
    ("candle-core", "bul-engine"),
    ("cudarc", "bul-engine"),
    ("async-nats", "bul-broker-nats"),
    ("lapin", "bul-broker-rabbitmq"),
    ("deadpool-redis", "bul-cache"),
];

fn packages() -> Vec<Value> {
    let root = repository().join("Cargo.toml").display().to_string();
    let text = run(
        "cargo",
        &["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", &root],
    );
    serde_json::from_str::<Value>(&text).unwrap()["packages"].as_array().unwrap().clone()
}

fn dependencies(package: &Value) -> BTreeSet<String> {
    let normal = |d: &&Value| d["kind"].is_null();
    let all = package["dependencies"].as_array().unwrap();
    all.iter().filter(normal).map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn arrows_point_one_way() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = ARROWS.iter().find(|(n, _)| *n == name) else {
            assert!(name == "bul" || name == "bul-tests", "{name} has no line in ARROWS");
            continue;
        };
        for dependency in dependencies(&package).iter().filter(|d| d.starts_with("bul-")) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
        let is_store = name.starts_with("bul-store-");
        assert!(
            is_store || !dependencies(&package).contains("sqlx"),
            "sqlx belongs to the stores, not to {name}"
        );
        for (heavy, home) in HEAVY {
            assert!(
                name == *home || !dependencies(&package).contains(*heavy),
                "{heavy} belongs to {home}, not to {name}"
            );
        }
    }
}

/// Whether an SPDX expression is met by the allowed licences. `A/B` is the old way to write `A OR B`.
fn licence_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&tokens, &mut at, allowed)
}

fn any_of(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all_of(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(tokens, at, allowed);
    }
    met
}

fn all_of(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(tokens, at, allowed);
    }
    met
}

fn one(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(token) = tokens.get(*at) else { return false };
    *at += 1;
    if *token == "(" {
        let met = any_of(tokens, at, allowed);
        *at += 1;
        return met;
    }
    let mut name = (*token).to_owned();
    if tokens.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", tokens.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
    }
    allowed.contains(&name)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(ToOwned::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", false),
        ("", false),
    ] {
        assert_eq!(licence_allowed(expression, &allowed), expected, "{expression}");
    }
}

/// Licences, banned crates and sources, by the lists of deny.toml.
#[test]
fn dependencies_keep_to_the_policy() {
    let root = repository();
    let policy = std::fs::read_to_string(root.join("deny.toml")).unwrap();
    let start = policy.find("allow = [").expect("deny.toml allows licences");
    let list = &policy[start..start + policy[start..].find(']').unwrap()];
    let allowed: Vec<String> = list.split('"').skip(1).step_by(2).map(ToOwned::to_owned).collect();
    let banned: Vec<&str> =
        policy.split("{ crate = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(allowed.len() > 5 && banned.len() > 2);

    let manifest = root.join("Cargo.toml").display().to_string();
    let arguments = [
        "tree",
        "--workspace",
        "--offline",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
        "--manifest-path",
        &manifest,
    ];
    let tree = run("cargo", &arguments);
    let mut wrong = BTreeSet::new();
    let mut seen = 0;
    for line in tree.lines().filter(|line| line.contains('|')) {
        let (package, licence) = line.trim_end_matches("(*)").split_once('|').expect("a bar was asked for");
        let name = package.split_whitespace().next().unwrap_or_default();
        seen += 1;
        if !licence_allowed(licence.trim(), &allowed) {
            wrong.insert(format!("{name}: licence {licence:?}"));
        }
        if banned.contains(&name) {
            wrong.insert(format!("{name}: banned"));
        }
        if package.contains("://") {
            wrong.insert(format!("{package}: not from the registry"));
        }
    }
    assert!(seen > 100, "cargo tree lists the dependencies");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_small_and_adapters_in_one_place() {
    let root = repository();
    let listed = run("git", &["-C", &root.display().to_string(), "ls-files", "*.rs"]);
    let mut long = Vec::new();
    for file in listed.lines() {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        let lines = text.lines().count();
        if lines > 700 {
            long.push(format!("{file}: {lines} lines"));
        }
        let names_adapter = [
            "bul_store_sqlite::",
            "bul_store_postgres::",
            "bul_broker_embedded::",
            "bul_broker_nats::",
            "bul_broker_rabbitmq::",
        ]
        .iter()
        .any(|adapter| text.contains(adapter));
        let home = file == "bul/src/wire.rs"
            || file.contains("/tests")
            || file.starts_with("tests/")
            || file.starts_with("common/");
        assert!(!names_adapter || home, "{file} names an adapter; only bul/src/wire.rs may");
        let sql = text.contains(concat!("sqlx", "::"));
        assert!(
            !sql || file.starts_with("common/store-"),
            "{file} holds SQL; that belongs to common/store-*"
        );
    }
    assert!(long.is_empty(), "split by reason to change: {long:?}");
}
