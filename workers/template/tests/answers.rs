//! Free queries that are answered by a JSON value: prompt, check, and the document that shows the value.

mod common;

use std::collections::BTreeMap;

use bul_template::{ANSWER, Assembled, Catalog, Order, Plan, TemplateError};
use common::{text_of, today};
use serde_json::{Map, Value, json};

fn order<'a>(schema: &'a Value, data: &'a Map<String, Value>) -> Order<'a> {
    Order {
        template: "document",
        query: Some("Read the order"),
        business_area: None,
        doc_type: None,
        data,
        context: Some("We want 12 doors.\nRequest: \"all of them\""),
        response_schema: Some(schema),
        language: "en",
        date: today(),
    }
}

fn planned(schema: &Value) -> Plan {
    let data = json!({"customer": "Nordbau"}).as_object().cloned().unwrap_or_default();
    Catalog::builtin().expect("catalog").plan(&order(schema, &data)).expect("plan")
}

fn answered(schema: &Value, text: &str) -> Result<Assembled, TemplateError> {
    planned(schema).assemble(&BTreeMap::from([(ANSWER.to_owned(), text.to_owned())]))
}

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "kind": {"enum": ["order", "complaint"]}, "pieces": {"type": "integer"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"article": {"type": "string"}, "number": {"type": "integer"}}}},
        "due_date": {"type": "string", "format": "date"}, "note": {"type": "string", "pattern": "^[A-Za-z ]*$"},
        "customer": {"type": "object", "properties": {"name": {"type": "string"}, "tags": {"type": "array"}}}},
        "required": ["kind", "pieces"], "additionalProperties": false})
}

#[test]
fn the_prompt_holds_each_part_on_its_own_line() {
    let plan = planned(&json!({"type": "integer"}));
    assert!(plan.outline().is_none() && plan.slots().is_empty());
    let ask = plan.answer().expect("an answer is asked for");
    assert_eq!(ask.schema, r#"{"type":"integer"}"#);
    assert_eq!(
        ask.user,
        "Schema: {\"type\":\"integer\"}\nLanguage: \"en\"\nContext: \"We want 12 doors.\\nRequest: \\\"all of them\\\"\"\n\
         Data: {\"customer\":\"Nordbau\"}\nRequest: \"Read the order\""
    );
    assert!(!ask.system.contains("Nordbau"), "what all tenants share holds no words of one");
}

#[test]
fn an_answer_that_fits_is_shown_and_kept_in_its_order() {
    let text = r#"{"pieces":12,"kind":"order","lines":[{"article":"Door","number":12},{"article":"Frame"}],
        "due_date":"2026-12-01","customer":{"name":"Nordbau","tags":["a","b"]}}"#;
    let done = answered(&schema(), text).expect("assembles");
    let answer = done.answer.expect("the value");
    let names: Vec<&String> = answer.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["pieces", "kind", "lines", "due_date", "customer"]);
    let shown = text_of(&done.document);
    for expected in [
        "Pieces\n12",
        "Kind\norder",
        "Due date\n1 December 2026",
        "Lines\n|Article|Number\n|Door|12\n|Frame|",
        "Customer\nName\nNordbau",
    ] {
        assert!(shown.contains(expected), "{expected:?} in\n{shown}");
    }
    let invented: Vec<&str> = done.findings.iter().map(|f| f.message.as_str()).collect();
    assert!(
        invented.iter().any(|m| m.contains("2026")),
        "a date that nobody gave is a finding: {invented:?}"
    );
    assert!(!invented.iter().any(|m| m.contains("12 ")), "what the context says is none: {invented:?}");
}

#[test]
fn an_answer_that_does_not_fit_is_no_document() {
    for (text, words) in [
        ("", &["not JSON"][..]),
        ("twelve", &["not JSON"]),
        (r#"{"kind": "order", "pieces": 1} and more"#, &["not JSON"]),
        (r#"{"kind": "gift", "pieces": 1}"#, &["/kind"]),
        (r#"{"kind": "order"}"#, &["/pieces: is required"]),
        (r#"{"kind": "order", "pieces": 1.5}"#, &["/pieces"]),
        (r#"{"kind": "order", "pieces": 1, "colour": 1}"#, &["/colour: unknown field"]),
        (r#"{"kind": "order", "pieces": 1, "due_date": "2026-02-31"}"#, &["/due_date"]),
        (r#"{"kind": "order", "pieces": 1, "note": "12"}"#, &["/note"]),
        (r#"{"kind": "gift", "pieces": "x"}"#, &["/kind", "1 more"]),
        (r#"{"kind": "order", "pieces": 1, "pieces": "2"}"#, &["/pieces"]),
    ] {
        let error = answered(&schema(), text).expect_err(text);
        assert!(matches!(error, TemplateError::Answer { .. }), "{text}: {error}");
        let message = error.to_string();
        assert!(words.iter().all(|word| message.contains(word)) && message.len() < 700, "{text}: {message}");
    }
    let long = format!("\"{}\"", "x".repeat(2 << 20));
    assert!(answered(&json!({"type": "string"}), &long).expect_err("too long").to_string().contains("bytes"));
    let names = format!("{{\"{}\": 1}}", "n".repeat(100_000));
    let error = answered(&json!({"additionalProperties": false}), &names).expect_err("names are the model's");
    assert!(error.to_string().len() < 1000);
    let stranger = planned(&schema()).assemble(&BTreeMap::from([("section_1".to_owned(), String::new())]));
    assert!(stranger.is_err());
}

#[test]
fn schemas_that_nothing_can_be_checked_against_are_refused_in_time() {
    let catalog = Catalog::builtin().expect("catalog");
    let data = Map::new();
    let check = |schema: &Value| catalog.check(&order(schema, &data)).map_err(|error| error.to_string());
    let patterns = |n: usize, pattern: &str| {
        let members: Map<String, Value> =
            (0..n).map(|i| (format!("p{i}"), json!({"pattern": pattern}))).collect();
        json!({"type": "object", "properties": members})
    };
    for schema in [
        json!({"type": "integer"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "items": [{}]}),
        patterns(64, "^[a-z]{1,20}$"),
    ] {
        assert_eq!(check(&schema), Ok(()), "{schema}");
    }
    for schema in [
        json!({"type": "colour"}),
        json!({"required": "a"}),
        json!({"properties": {"a": {"minLength": -1}}}),
        json!({"pattern": "(["}),
        json!({"pattern": "((\\w{99}){99}){99}"}),
        json!({"$ref": "https://example.com/other.json"}),
        json!({"$ref": "file:///etc/hostname"}),
        json!({"$ref": "#/$defs/none"}),
        patterns(65, "a"),
        json!({"patternProperties": (0..65).map(|i| (format!("a{i}"), json!({}))).collect::<Map<_, _>>()}),
    ] {
        let shown: String = schema.to_string().chars().take(80).collect();
        let message = check(&schema).expect_err(&shown);
        assert!(
            message.starts_with("the schema of the answer cannot be used: ") && message.len() < 700,
            "{message}"
        );
    }
}

/// Expressions that make backtracking matchers run for ages, and schemas that lead to themselves.
#[test]
fn checking_an_answer_ends() {
    let text = format!("\"{}!\"", "a".repeat(20_000));
    for pattern in ["^(a+)+$", "^(a|aa)+$", "^(a|a)*$", "(x+x+)+y"] {
        let schema = json!({"type": "string", "pattern": pattern});
        assert!(answered(&schema, &text).is_err(), "{pattern}");
    }
    for schema in [
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"anyOf": [{"$ref": "#"}, {"type": "integer"}]}),
    ] {
        drop(answered(&schema, "1"));
    }
}
