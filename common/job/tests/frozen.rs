//! What version 1 published and stored is still read, and so is what a newer one may add within the version.

use bul_job::{Event, EventKind, Lane, Limits, RawJob, State, ValidJob};
use serde_json::{Value, json};

fn frozen(name: &str) -> Value {
    let path = format!("{}/../../tests/it/messages/v1/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The same with a field that this version does not know.
fn newer(name: &str) -> Value {
    let mut value = frozen(name);
    value["tomorrow"] = json!({"deep": [1]});
    value
}

#[test]
fn a_stored_job_of_version_1_is_read() {
    for row in [frozen("row.json"), newer("row.json")] {
        let job: ValidJob = serde_json::from_value(row).unwrap();
        assert_eq!((job.template.as_str(), job.lane, job.max_attempts), ("document", Lane::High, 5));
        assert_eq!((job.params.max_tokens, job.metadata["order"].as_str()), (Some(64), Some("4711")));
        // What is written again is what was there.
        assert_eq!(serde_json::to_value(&job).unwrap(), frozen("row.json"));
    }
}

#[test]
fn a_submitted_job_of_version_1_is_accepted_and_an_unknown_field_is_named() {
    let now = "2026-11-27T09:00:00Z".parse().unwrap();
    let job =
        ValidJob::parse(RawJob::from_value(frozen("job.json")).unwrap(), now, &Limits::default()).unwrap();
    assert_eq!((job.lane, job.idempotency_key.as_deref()), (Lane::Normal, Some("frozen-job-1")));
    // A misspelt field must not be lost in silence: people submit jobs, not only programs of ours.
    assert!(RawJob::from_value(newer("job.json")).unwrap_err().to_string().contains("tomorrow"));
}

#[test]
fn lifecycle_events_of_version_1_are_read() {
    let read = |value: Value| serde_json::from_value::<Event>(value).unwrap();
    for name in ["event-state.json", "event-progress.json", "event-token.json"] {
        assert_eq!(read(newer(name)), read(frozen(name)), "{name}");
        assert_eq!(serde_json::to_value(read(frozen(name))).unwrap(), frozen(name), "{name}");
    }
    let state = read(frozen("event-state.json"));
    assert!(matches!(state.kind, EventKind::State { state: State::Waiting, attempt: 1, .. }));
}
