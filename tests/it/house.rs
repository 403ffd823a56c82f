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
    ("bul-broker-embedded", &["bul-job", "bul-broker"]),
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
const HEAVY: &[(&str, &str)] =
    &[("typst", "bul-pdf"), ("candle-core", "bul-engine"), ("sqlx", "bul-store-sqlite")];

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
        for (heavy, home) in HEAVY {
            assert!(
                name == *home || !dependencies(&package).contains(*heavy),
                "{heavy} belongs to {home}, not to {name}"
            );
        }
    }
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
        let names_adapter = text.contains("bul_store_sqlite::") || text.contains("bul_broker_embedded::");
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
