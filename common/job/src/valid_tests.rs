//! What is accepted, and that each refusal names its field.

use serde_json::json;

use super::*;

fn parse(value: Value) -> Result<ValidJob, JobError> {
    let now = "2026-11-16T09:00:00Z".parse().unwrap();
    ValidJob::parse(RawJob::from_value(value)?, now, &Limits::default())
}

fn check_pointers(value: Value, expected: &[&str]) {
    match parse(value.clone()) {
        Err(JobError::Fields(errors)) => {
            let pointers: Vec<_> = errors.iter().map(|e| e.pointer.as_str()).collect();
            assert_eq!(pointers, expected, "{value}");
        }
        other => panic!("{value}: expected field errors, got {other:?}"),
    }
}

#[test]
fn a_query_alone_becomes_a_free_document() {
    let job = parse(json!({"query": "  Marketing strategy for a bakery "})).unwrap();
    assert_eq!(
        (job.template.as_str(), job.query.as_deref()),
        ("document", Some("Marketing strategy for a bakery"))
    );
    assert_eq!(
        (job.lane, job.formats, job.max_attempts),
        (Lane::Normal, vec![Format::Pdf], ATTEMPTS_DEFAULT)
    );
}

#[test]
fn priorities_by_name_in_any_case_and_by_number() {
    for (given, lane) in [(json!("HIGH"), Lane::High), (json!(0), Lane::Critical), (json!("low"), Lane::Low)]
    {
        assert_eq!(parse(json!({"query": "x", "priority": given})).unwrap().lane, lane);
    }
}

#[test]
fn every_refusal_names_its_field() {
    check_pointers(json!({}), &["/template"]);
    check_pointers(json!({"query": "x", "colour": 1}), &["/colour"]);
    check_pointers(json!({"query": "x", "params": {"topp": 1}}), &["/params/topp"]);
    check_pointers(json!({"query": 7}), &["/query"]);
    check_pointers(json!({"query": "  "}), &["/query", "/template"]);
    check_pointers(json!({"query": "x", "formats": ["pdf", "doc"]}), &["/formats/1"]);
    check_pointers(json!({"query": "x", "formats": []}), &["/formats"]);
    check_pointers(json!({"query": "x", "priority": 4}), &["/priority"]);
    check_pointers(json!({"query": "x", "priority": "urgent"}), &["/priority"]);
    check_pointers(json!({"query": "x", "run_at": "tomorrow"}), &["/run_at"]);
    check_pointers(json!({"query": "x", "deadline": "2020-01-01T00:00:00Z"}), &["/deadline"]);
    check_pointers(json!({"query": "x", "max_attempts": 0}), &["/max_attempts"]);
    check_pointers(json!({"query": "x", "kind": "agent.run"}), &["/kind"]);
    check_pointers(json!({"query": "x", "language": "english please"}), &["/language"]);
    check_pointers(json!({"query": "x\u{0}y"}), &["/query", "/template"]);
    check_pointers(json!({"query": "x", "params": {"temperature": 3}}), &["/params/temperature"]);
    check_pointers(json!({"query": "x", "metadata": {"a": {}}}), &["/metadata/a"]);
    check_pointers(json!({"query": "x", "callback_url": "https://example.com"}), &["/callback_url"]);
}

#[test]
fn a_response_schema_belongs_to_a_free_query() {
    let schema = json!({"type": "object", "properties": {"b": {"type": "integer"}, "a": {}}});
    for job in [
        json!({"query": "x", "response_schema": schema}),
        json!({"query": "x", "template": "document", "response_schema": schema}),
    ] {
        assert_eq!(parse(job).unwrap().response_schema.as_ref(), Some(&schema));
    }
    check_pointers(json!({"template": "document", "response_schema": schema}), &["/response_schema"]);
    check_pointers(
        json!({"query": "x", "template": "invoice", "response_schema": {}}),
        &["/response_schema"],
    );
    check_pointers(json!({"query": "x", "response_schema": "{}"}), &["/response_schema"]);
    check_pointers(
        json!({"query": "x", "response_schema": {"enum": ["y".repeat(70_000)]}}),
        &["/response_schema"],
    );
    let deep = (0..110).fold(json!({}), |inner, _| json!({"items": inner}));
    check_pointers(json!({"query": "x", "response_schema": deep}), &["/response_schema"]);
    let digest = |value| parse(value).unwrap().digest();
    let (plain, other) = (json!({"query": "x"}), json!({"query": "x", "response_schema": {"type": "null"}}));
    assert_ne!(digest(plain), digest(other.clone()));
    assert_ne!(digest(other), digest(json!({"query": "x", "response_schema": {"type": "boolean"}})));
}

#[test]
fn deep_data_is_refused_and_malformed_json_told_by_position() {
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!({ "a": deep });
    }
    assert!(matches!(parse(json!({"query": "x", "data": deep})), Err(JobError::Fields(_))));
    let Err(JobError::Syntax(message)) = RawJob::from_json(b"{\"query\": ") else { panic!() };
    assert!(message.contains("line 1 column"), "{message}");
    assert!(RawJob::from_json("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn digest_ignores_key_order_and_the_key_itself_but_no_content() {
    let digest = |value| parse(value).unwrap().digest();
    let one = digest(json!({"template": "invoice", "data": {"a": 1, "b": [1, 2]}, "idempotency_key": "k"}));
    assert_eq!(one, digest(json!({"data": {"b": [1, 2], "a": 1}, "template": "invoice"})));
    assert_ne!(one, digest(json!({"data": {"b": [2, 1], "a": 1}, "template": "invoice"})));
    assert_ne!(one, digest(json!({"data": {"b": [1, 2], "a": 1}, "template": "invoice", "priority": 0})));
}
