//! Fixtures, one-line parsing and the templates' schemas.

use std::path::{Path, PathBuf};

use bul_job::{Limits, RawJob, ValidJob};
use bul_producer::ingest::{Hints, IngestError, IngestLimits, Item, Source, parse};
use serde_json::Value;

/// A file under `fixtures/`.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files of a folder of real inputs; none where they are not there.
pub fn real_files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(folder);
    let Ok(entries) = std::fs::read_dir(&path) else {
        println!("skipped: no real inputs in {}", path.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable folder").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    assert!(!files.is_empty(), "the folder {folder} is there but has no .{extension}");
    files
}

pub fn read(source: Source, bytes: &[u8], hints: &Hints) -> Result<Vec<Item>, IngestError> {
    parse(source, bytes, hints, &IngestLimits::default())
}

/// The only job of an input.
pub fn one(source: Source, bytes: &[u8]) -> RawJob {
    one_with(source, bytes, &Hints::default())
}

pub fn one_with(source: Source, bytes: &[u8], hints: &Hints) -> RawJob {
    let mut items = read(source, bytes, hints).unwrap_or_else(|e| panic!("{source}: {e}"));
    assert_eq!(items.len(), 1, "one job");
    items.remove(0).job
}

/// The data of a job, after the job was found valid and its data to conform to its template.
pub fn data(job: &RawJob) -> Value {
    let valid = ValidJob::parse(job.clone(), chrono::DateTime::UNIX_EPOCH, &Limits::default());
    assert!(valid.is_ok(), "{valid:?}");
    let data = Value::Object(job.data.clone().expect("data"));
    conforms(job.template.as_deref().expect("template"), &data);
    data
}

/// Checks data against the schema of a template.
pub fn conforms(template: &str, data: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../workers/template/templates").join(template);
    let schema = std::fs::read(path.join("schema.json")).expect("the template's schema");
    let schema: Value = serde_json::from_slice(&schema).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
    let errors: Vec<String> =
        validator.iter_errors(data).map(|e| format!("{}: {e}", e.instance_path())).take(10).collect();
    assert!(errors.is_empty(), "{template}: {errors:#?}");
}

/// Checks that an input is refused with a message that holds `expected`.
pub fn check_error(source: Source, bytes: &[u8], expected: &str) {
    check_error_with(source, bytes, &Hints::default(), expected);
}

pub fn check_error_with(source: Source, bytes: &[u8], hints: &Hints, expected: &str) {
    match read(source, bytes, hints) {
        Ok(items) => panic!("{source} accepted {} jobs, expected {expected:?}", items.len()),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(expected), "{source}: {text:?} lacks {expected:?}");
            assert!(!error.fields().is_empty());
            assert!(text.chars().count() < 2_000, "the message is bounded");
        }
    }
}

/// All places of an error, as `pointer: message`.
pub fn places(source: Source, bytes: &[u8]) -> Vec<String> {
    let error = read(source, bytes, &Hints::default()).expect_err("must be refused");
    error.fields().iter().map(ToString::to_string).collect()
}

/// Checks the value at each pointer.
pub fn check_values(value: &Value, expected: &[(&str, Value)]) {
    for (pointer, expected) in expected {
        assert_eq!(value.pointer(pointer).unwrap_or(&Value::Null), expected, "at {pointer}");
    }
}
