//! The published schema and the parser agree on every example.

use std::path::{Path, PathBuf};

use bul_job::{Limits, RawJob, ValidJob};
use serde_json::Value;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn check_folder(folder: &str, expected: bool) {
    let schema = jsonschema::validator_for(&read(&schemas().join("json/job.v1.json"))).unwrap();
    let mut tried = 0;
    for entry in std::fs::read_dir(schemas().join("examples").join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let value = read(&path);
        let parsed = RawJob::from_value(value.clone()).and_then(|raw| {
            ValidJob::parse(raw, "2026-11-16T09:00:00Z".parse().unwrap(), &Limits::default())
        });
        assert_eq!(schema.is_valid(&value), expected, "{} against the schema", path.display());
        assert_eq!(parsed.is_ok(), expected, "{}: {parsed:?}", path.display());
        tried += 1;
    }
    assert!(tried >= 3);
}

#[test]
fn valid_examples_pass_both() {
    check_folder("valid", true);
}

#[test]
fn invalid_examples_fail_both() {
    check_folder("invalid", false);
}
