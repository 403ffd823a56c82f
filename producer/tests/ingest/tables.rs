//! Jobs as JSON, as lines and as rows; figures; and how each is recognised.

use bul_job::{PriorityInput, RawJob};
use bul_producer::ingest::{Hints, IngestErrorKind, Source};
use serde_json::json;

use crate::support::{
    check_error, check_error_with, check_values, data, fixture, one, one_with, places, read,
};

fn check_detect(bytes: &[u8], file: Option<&str>, media: Option<&str>, expected: Source) {
    let found = Source::detect(bytes, file, media, &Hints::default());
    assert_eq!(found.map_err(|e| e.to_string()), Ok(expected), "{file:?} {media:?}");
}

#[test]
fn names_are_parsed_back() {
    for source in Source::ALL {
        assert_eq!(Source::parse(source.as_str()), Some(source));
        assert_eq!(Source::parse(&source.as_str().to_uppercase()), Some(source));
    }
    assert_eq!(Source::parse("xrechnung"), Some(Source::Ubl));
    assert_eq!(Source::parse("nonsense"), None);
}

#[test]
fn inputs_are_recognised() {
    check_detect(b"{\"query\":\"x\"}", None, Some("application/json; charset=utf-8"), Source::Job);
    check_detect(b"  [{\"query\":\"x\"}]", Some("jobs.json"), None, Source::Job);
    check_detect(b"{\"query\":\"x\"}\n{\"query\":\"y\"}", None, None, Source::Jsonl);
    check_detect(&fixture("jobs_bad.jsonl"), None, None, Source::Jsonl);
    check_detect(b"{}", Some("a.NDJSON"), None, Source::Jsonl);
    check_detect(b"\xef\xbb\xbf<?xml version='1.0'?><a/>", None, None, Source::Ubl);
    check_detect(&fixture("jobs.csv"), None, None, Source::Csv);
    check_detect(b"a;b\n1;2\n", None, None, Source::Csv);
    check_detect(b"anything", Some("x.tsv"), None, Source::Csv);
    check_detect(b"x", None, Some("text/csv"), Source::Csv);
    check_detect(b"[{\"specversion\":\"1.0\",\"type\":\"x\"}]", None, None, Source::CloudEvents);
    check_detect(&fixture("service_deployed.cdevent.json"), None, None, Source::Cdevents);
    check_detect(b"{\"move_type\":\"out_invoice\"}", None, None, Source::Odoo);
    check_detect(b"{\"BillingDocument\":\"9\"}", None, None, Source::Sap);
    check_detect(b"payload=%7B%7D", None, Some("application/x-www-form-urlencoded"), Source::Github);
    let unknown = Source::detect(b"Dear all, please write a contract.", None, None, &Hints::default());
    assert_eq!(unknown.map_err(|e| e.kind), Err(IngestErrorKind::Unrecognised));
    let empty = Source::detect(b" \n", None, None, &Hints::default());
    assert_eq!(empty.map_err(|e| e.kind), Err(IngestErrorKind::Empty));
}

#[test]
fn job_json_names_the_wrong_field() {
    let job = one(Source::Job, b"\xef\xbb\xbf{\"query\":\"x\",\"data\":{\"a\":1.50}}");
    assert_eq!(job.query.as_deref(), Some("x"));
    assert_eq!(places(Source::Job, br#"{"query":"x","priority":[1]}"#).len(), 1);
    check_error(Source::Job, br#"{"query":"x","prioritee":1}"#, "/prioritee: unknown field `prioritee`");
    check_error(Source::Job, br#"{"query":"x","priority":[]}"#, "/priority: expected critical, high");
    check_error(
        Source::Job,
        b"{\"query\":\"x\",\n\"query\":\"y\"}",
        "line 2, column 7: not valid JSON: the key \"query\" occurs twice",
    );
    check_error(Source::Job, b"{\"data\":{\"a\":1,\"a\":2}}", "\"a\" occurs twice");
    check_error(Source::Job, b"{\"query\":\n", "line 2, column 0: not valid JSON: EOF");
    check_error(Source::Job, b"{} {}", "trailing characters");
    check_error(Source::Job, b"5", "a job is a JSON object, found a number");
    check_error(Source::Generic, b"[]", "the input holds no job");
    check_error(
        Source::Job,
        b"[1,{\"query\":\"x\"},{\"qwery\":\"x\"}]",
        "/0: a job is a JSON object, found a number (and 1 more)",
    );
    assert_eq!(
        places(Source::Job, b"[1,{\"query\":\"x\"},{\"qwery\":\"x\"}]")[1].split(": ").next(),
        Some("/2/qwery")
    );
}

#[test]
fn lines_with_errors_on_2_and_5() {
    let found = places(Source::Jsonl, &fixture("jobs_bad.jsonl"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("/1/prioritee: line 2: unknown field"), "{found:#?}");
    assert!(found[1].starts_with("/3: line 5, column 18: not valid JSON"), "{found:#?}");
    let good = b"\xef\xbb\xbf{\"query\":\"One\"}\r\n\r\n{\"query\":\"Two\"}\n";
    let items = read(Source::Jsonl, good, &Hints::default()).expect("two jobs");
    let places: Vec<&str> = items.iter().map(|item| item.place.as_str()).collect();
    assert_eq!(places, ["line 1", "line 3"]);
}

#[test]
fn lines_may_be_events() {
    let event = String::from_utf8(fixture("incident.cloudevent.json")).expect("UTF-8").replace('\n', " ");
    let text = format!("{{\"query\":\"One\"}}\n{event}\n");
    let items = read(Source::Jsonl, text.as_bytes(), &Hints::default()).expect("two jobs");
    assert_eq!(items[1].job.template.as_deref(), Some("incident-report"));
}

#[test]
fn bad_places_are_bounded() {
    let text = "{\"x\":1}\n".repeat(250);
    let error = read(Source::Jsonl, text.as_bytes(), &Hints::default()).expect_err("all are bad");
    assert_eq!((error.fields().len(), error.bad_more), (100, 150));
    assert!(error.to_string().ends_with("(and 249 more)"), "{error}");
}

#[test]
fn a_job_per_row() {
    let items = read(Source::Csv, &fixture("jobs.csv"), &Hints::default()).expect("two jobs");
    let expected = RawJob {
        template: Some("contract".into()),
        formats: Some(vec!["md".into(), "pdf".into()]),
        priority: Some(PriorityInput::Name("high".into())),
        max_attempts: Some(3),
        dedup: Some(true),
        params: Some(bul_job::Params { temperature: Some(0.7), ..bul_job::Params::default() }),
        data: json!({
            "customer": {"name": "Mole & \"Sons\"\nsecond line"}, "amount": "12.50",
            "lines": [{"name": "Desk"}, {"name": "Chair"}],
        })
        .as_object()
        .cloned(),
        metadata: Some([("team".to_owned(), json!("sales"))].into()),
        ..RawJob::default()
    };
    assert_eq!(items[0].job, expected);
    assert_eq!((items[0].place.as_str(), items[1].place.as_str()), ("row 2", "row 3"));
    let second = &items[1].job;
    assert_eq!(second.formats, Some(vec!["html".into(), "json".into()]));
    assert_eq!(second.priority, Some(PriorityInput::Number(2)));
    assert_eq!(second.data, json!({"amount": 7}).as_object().cloned());
    assert_eq!(second.run_at.as_deref(), Some("2026-12-01T09:00:00Z"));
}

#[test]
fn cells_keep_their_text() {
    let cells = |cell: &str| {
        let text = format!("query\tdata.x\nq\t{cell}\n");
        one(Source::Csv, text.as_bytes()).data.and_then(|data| data.get("x").cloned())
    };
    assert_eq!(cells("12.50"), Some(json!("12.50")));
    assert_eq!(cells("007"), Some(json!("007")));
    assert_eq!(cells("12"), Some(json!(12)));
    assert_eq!(cells("true"), Some(json!(true)));
    assert_eq!(cells("99999999999999999999999999"), Some(json!("99999999999999999999999999")));
    assert_eq!(cells("[1,2]"), Some(json!([1, 2])));
    assert_eq!(cells("[Seller]"), Some(json!("[Seller]")));
    let years = one(Source::Csv, b"query,data.2024,data.2025\nq,1,2\n");
    assert_eq!(years.data, json!({"2024": 1, "2025": 2}).as_object().cloned());
}

#[test]
fn bad_rows_name_row_column_and_field() {
    let text = b"template,max_attempts,dedup,data.a\nx,three,maybe,1\nx,1,true,1,surplus\ny,-1,,\n";
    assert_eq!(
        places(Source::Csv, text),
        [
            "/0/max_attempts: row 2, column 2 (max_attempts): \"three\" is not a whole number",
            "/0/dedup: row 2, column 3 (dedup): \"maybe\" is neither true nor false",
            "/1: row 3: has 5 cells, the header has 4 columns",
            "/2/max_attempts: row 4, column 2 (max_attempts): \"-1\" is not a whole number",
        ]
    );
    check_error(Source::Csv, b"query,clicks\nx,1\n", "row 1, column 2: unknown column \"clicks\"");
    check_error(Source::Csv, b"query,data.a,data.a.b\nx,1,2\n", "is given as a value and as a group");
    check_error(Source::Csv, b"query\n", "the file has a header and no rows");
    check_error(Source::Csv, b"query,data\nx,[1]\n", "expected a JSON object, found an array");
    let deep = format!("query,data{}\nx,1\n", ".a".repeat(5_000));
    check_error(Source::Csv, deep.as_bytes(), "unknown column");
}

#[test]
fn figures_make_one_report() {
    let hints = Hints { file_name: Some("exports/umsatz-woche_1.csv".into()), ..Hints::default() };
    let job = one_with(Source::Csv, &fixture("umsatz-woche_1.csv"), &hints);
    assert_eq!(job.template.as_deref(), Some("weekly-report"));
    check_values(
        &data(&job),
        &[
            ("/title", json!("Umsatz woche 1")),
            ("/columns", json!(["Datum", "Umsatz", "Region"])),
            ("/rows", json!([["2026-01-05", "1.234,50", "Nord;Ost"], ["2026-01-06", "99", null]])),
        ],
    );
    let latin = one(Source::Csv, b"Tag;Gr\xf6\xdfe\n1;\x80 5\n");
    check_values(&data(&latin), &[("/columns", json!(["Tag", "Größe"])), ("/rows", json!([["1", "€ 5"]]))]);
    let forced = Hints { template: Some("weekly-report".into()), ..Hints::default() };
    let job = one_with(Source::Csv, b"query,clicks\nshoes,12\n", &forced);
    check_values(&data(&job), &[("/rows", json!([["shoes", "12"]]))]);
    check_error(Source::Csv, b"a,b\n1,2,3\n", "row 2: has 3 cells, the header has 2 columns");
    let other = Hints { template: Some("contract".into()), ..Hints::default() };
    check_error_with(Source::Csv, b"a,b\n1,2\n", &other, "unknown column \"a\"");
    let filled = one_with(Source::Csv, b"data.name\nAnn\n", &other);
    assert_eq!(filled.template.as_deref(), Some("contract"));
}
