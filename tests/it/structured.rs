//! Queries that are answered by a JSON value: with each kind of model, and with schemas that mean harm.

use bul_tests::{Server, ServerOptions, completions_server, pdf_text, request};
use serde_json::{Map, Value, json};

/// A schema of an enum, an integer and a text.
fn order() -> Value {
    json!({
        "type": "object",
        "properties": {
            "kind": {"enum": ["order", "complaint", "question"]},
            "pieces": {"type": "integer", "minimum": 0, "maximum": 500},
            "summary": {"type": "string", "minLength": 1, "maxLength": 40},
        },
        "required": ["kind", "pieces", "summary"],
        "additionalProperties": false,
    })
}

#[track_caller]
fn assert_order(answer: &Value) {
    let members: Vec<&String> = answer.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["kind", "pieces", "summary"], "{answer}");
    assert!(["order", "complaint", "question"].iter().any(|kind| answer["kind"] == *kind), "{answer}");
    assert!(answer["pieces"].as_u64().is_some_and(|n| n <= 500), "{answer}");
    let summary = answer["summary"].as_str().expect("a text");
    assert!((1..=40).contains(&summary.chars().count()), "{answer}");
}

fn schema_file(server: &Server, schema: &Value) -> String {
    let file = server.home().join("schema.json");
    std::fs::write(&file, schema.to_string()).unwrap();
    file.display().to_string()
}

/// Submits an order with its schema and waits; the job as shown.
fn submitted(server: &Server, formats: &str, wait: bool) -> Value {
    let file = schema_file(server, &order());
    let mut arguments = vec![
        "submit",
        "--query",
        "Read this letter",
        "--set",
        "context=We want 12 fire doors.",
        "--schema",
        &file,
        "--format",
        formats,
        "-o",
        "json",
    ];
    if wait {
        arguments.extend(["--wait", "--out", "docs"]);
    }
    let ran = server.cli(&arguments).expect(0);
    let id = ran.out.split('"').find(|part| part.len() == 36).expect("an id").to_owned();
    server.settle();
    server.cli(&["jobs", "show", &id, "-o", "json"]).expect(0).json()
}

fn document(server: &Server, job: &Value, format: &str) -> Vec<u8> {
    let path = format!("/v1/jobs/{}/documents/{format}", job["id"].as_str().expect("an id"));
    let key = format!("Bearer {}", server.key());
    let answer = request(server.port(), "GET", &path, &[("Authorization", &key)], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn the_shipped_model_answers_by_the_schema_in_every_format() {
    let server = Server::start(ServerOptions::default());
    let job = submitted(&server, "json,md,html,txt,pdf", true);
    assert_eq!(job["state"], "completed", "{job:#}");
    let answer: Value = serde_json::from_slice(&document(&server, &job, "json")).expect("JSON");
    assert_order(&answer);
    let kind = answer["kind"].as_str().unwrap();
    let pieces = answer["pieces"].to_string();
    for format in ["md", "html", "txt"] {
        let text = String::from_utf8(document(&server, &job, format)).expect("text");
        assert!(text.contains("Pieces") && text.contains(kind) && text.contains(&pieces), "{format}: {text}");
    }
    let pdf = std::fs::read_dir(server.home().join("docs")).unwrap().map(|f| f.unwrap().path());
    let pdf = pdf.into_iter().find(|f| f.extension().is_some_and(|e| e == "pdf")).expect("a PDF");
    assert!(pdf_text(&pdf).contains(kind));
    let usage = &job["usage"];
    assert!(
        usage["output_tokens"].as_u64().unwrap() > 0 && usage["prompt_tokens"].as_u64().unwrap() > 0,
        "{usage}"
    );
    let invented = job["findings"].as_array().unwrap().iter().any(|f| f["rule"] == "prose.number");
    let known = [0, 12, 40, 500, 1].iter().any(|n| answer["pieces"] == *n);
    assert!(invented || known, "a figure that the request does not hold is a finding: {job:#}");
}

#[test]
fn the_scripted_model_answers_over_http_and_by_csv() {
    let server = Server::start(ServerOptions::default().scripted());
    let key = format!("Bearer {}", server.key());
    let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
    let job = json!({"query": "x", "response_schema": order(), "formats": ["json", "md"]});
    assert_eq!(request(server.port(), "POST", "/v1/jobs", &headers, job.to_string().as_bytes()).status, 202);
    let cell = order().to_string().replace('"', "\"\"");
    let table = format!("query,formats,response_schema\nRead it,json,\"{cell}\"\n");
    server.cli_with_input(&["submit", "-", "--as", "csv"], &table).expect(0);
    assert_eq!(server.settle()["completed"], 2);
    for job in server.cli(&["jobs", "list", "-o", "json"]).expect(0).json().as_array().unwrap() {
        let answer: Value = serde_json::from_slice(&document(&server, job, "json")).unwrap();
        assert_eq!(answer, json!({"kind": "order", "pieces": 0, "summary": "a"}));
    }
}

/// A server that knows no schemas: the first answers are JSON of another form; the job is tried again.
#[test]
fn a_remote_model_that_ignores_the_schema_is_asked_again() {
    let port = completions_server(|n, body| {
        let format = &body["response_format"]["json_schema"];
        assert_eq!(format["schema"], order(), "the server is told the schema: {body}");
        match n {
            0 => r#"{"kind": "order", "pieces": "twelve", "summary": "Doors"}"#.into(),
            1 => r#"{"kind": "order", "pieces": 12, "summary": "Doors", "colour": "red"}"#.into(),
            _ => r#"{"kind": "order", "pieces": 12, "summary": "Doors"}"#.into(),
        }
    });
    let model = format!("openai+http://127.0.0.1:{port}/v1#any");
    let server =
        Server::start(ServerOptions::default().with("BUL_MODEL", &model).with("BUL_RETRY_BASE_MS", "20"));
    let job = submitted(&server, "json", false);
    assert_eq!((&job["state"], &job["core"]["failures"]), (&json!("completed"), &json!(2)), "{job:#}");
    assert_order(&serde_json::from_slice(&document(&server, &job, "json")).unwrap());
    let reasons: Vec<&str> =
        job["attempts"].as_array().unwrap().iter().filter_map(|a| a["failure"]["message"].as_str()).collect();
    assert!(reasons[0].contains("/pieces") && reasons[1].contains("/colour"), "{reasons:?}");
}

#[test]
fn a_remote_model_that_never_keeps_to_the_schema_makes_a_dead_letter_with_the_reason() {
    let port = completions_server(|_, _| "[1, 2]".into());
    let model = format!("openai+http://127.0.0.1:{port}/v1#any");
    let server =
        Server::start(ServerOptions::default().with("BUL_MODEL", &model).with("BUL_RETRY_BASE_MS", "20"));
    let job = submitted(&server, "json", false);
    assert_eq!((&job["state"], &job["core"]["failures"]), (&json!("dead"), &json!(5)), "{job:#}");
    let failure = &job["attempts"][4]["failure"];
    assert_eq!((&failure["class"], &failure["code"]), (&json!("transient"), &json!("answer_schema")));
    let explanation = job["explanation"].as_str().unwrap();
    assert!(explanation.contains("does not fit the response_schema"), "{explanation}");
}

/// What no answer may cost: each of these is refused with its place and a reason, and the server lives on in small memory.
#[test]
fn hostile_schemas_are_refused_at_the_door() {
    let server = Server::start(ServerOptions::default().scripted());
    let key = format!("Bearer {}", server.key());
    let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
    let post = |body: &str| request(server.port(), "POST", "/v1/jobs", &headers, body.as_bytes());
    let deep = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({ "items": inner }));
    let doubled = |n: usize| json!({"anyOf": vec![json!({"$ref": format!("#/$defs/a{}", n + 1)}); 8]});
    let mut chain: Map<String, Value> = (0..12).map(|n| (format!("a{n}"), doubled(n))).collect();
    chain.insert("a12".into(), json!({"type": "null"}));
    let bombs: Map<String, Value> = (0..300)
        .map(|n| {
            (
                format!("p{n}"),
                json!({"type": "string", "pattern": format!("^((\\w{{99}}){{99}}){{{}}}$", n + 2)}),
            )
        })
        .collect();
    let cases = [
        (deep(40), "levels"),
        (deep(110), "levels"),
        (json!({"enum": (0..5000).collect::<Vec<_>>()}), "more than"),
        (json!({"enum": (0..20_000).collect::<Vec<_>>()}), "bytes"),
        (json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}), ""),
        (json!({"$ref": "https://example.com/schema.json"}), "$ref"),
        (json!({"$ref": "#/$defs/none"}), "no schema at"),
        (json!({"$ref": "#/$defs/a0", "$defs": chain}), "alternatives"),
        (json!({"type": "array", "minItems": 1_000_000_000}), "minItems"),
        (json!({"type": "string", "pattern": "((a{1000}){1000}){1000}"}), ""),
        (json!({"type": "string", "pattern": "a".repeat(600)}), "pattern"),
        (json!({"type": "string", "pattern": "(["}), ""),
        (json!({"type": "object", "properties": bombs}), ""),
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "colour"}), "colour"),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), ""),
        (json!([]), "object"),
        (json!("{}"), "object"),
    ];
    for (schema, word) in &cases {
        let answer = post(&json!({"query": "x", "response_schema": schema}).to_string());
        let shown: String = schema.to_string().chars().take(100).collect();
        assert_eq!(answer.status, 422, "{shown}: {answer:?}");
        let error = &answer.json()["errors"][0];
        assert_eq!(error["pointer"], "/response_schema", "{shown}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(word) && (10..600).contains(&message.len()), "{shown}: {message}");
    }
    let beside_a_template =
        json!({"template": "invoice", "query": "x", "response_schema": {"type": "integer"}});
    assert_eq!(post(&beside_a_template.to_string()).json()["errors"][0]["pointer"], "/response_schema");
    // Deeper than anybody parses.
    let open = format!(
        "{{\"query\":\"x\",\"response_schema\":{}1{}}}",
        "{\"items\":".repeat(5000),
        "}".repeat(5000)
    );
    assert_eq!(post(&open).status, 400);
    // All at once, each in a job of its own.
    let batch: Vec<Value> = (0..60)
        .map(|n| json!({"query": "x", "response_schema": {"type": "string", "pattern": format!("((a{{1000}}){{1000}}){{{n}}}b+")}}))
        .collect();
    let answer =
        request(server.port(), "POST", "/v1/jobs/batch", &headers, json!(batch).to_string().as_bytes());
    assert!(answer.status < 500, "{answer:?}");
    let plain = post(&json!({"query": "x", "formats": ["md"]}).to_string());
    assert_eq!(plain.status, 202, "{plain:?}");
    let peak = server.memory_peak_mib();
    assert!(peak < 800, "{peak} MiB");
}
