//! CloudEvents, CDEvents and webhooks: what becomes of them and how one is the same as another.

use bul_job::PriorityInput;
use bul_producer::ingest::{Hints, Source};
use serde_json::{Value, json};

use crate::support::{
    check_error, check_error_with, check_values, data, fixture, one, one_with, places, read,
};

fn github(event: &str, payload: &Value) -> (Option<String>, Value) {
    let hints = Hints { github_event: Some(event.into()), ..Hints::default() };
    let job = one_with(Source::Github, payload.to_string().as_bytes(), &hints);
    (job.template.clone(), data(&job))
}

#[test]
fn a_deployment_of_an_older_vocabulary() {
    let job = one(Source::Cdevents, &fixture("service_deployed.cdevent.json"));
    assert_eq!(job.template.as_deref(), Some("release-notes"));
    assert_eq!(job.business_area.as_deref(), Some("engineering"));
    check_values(
        &data(&job),
        &[
            ("/event/kind", json!("deployment")),
            ("/event/type", json!("dev.cdevents.service.deployed.0.1.1")),
            ("/event/time", json!("2026-05-04T10:11:12.5Z")),
            ("/service", json!("checkout")),
            ("/environment", json!("production")),
            ("/artifact", json!("pkg:oci/checkout@sha256:abc")),
            ("/state", json!("deployed")),
            (
                "/details",
                json!({
                    "environment.source": "/k8s/eu", "team": "cart", "canary": true, "replicas": 3, "nested.zone": "a",
                }),
            ),
        ],
    );
}

#[test]
fn an_incident_inside_a_cloud_event() {
    let bytes = fixture("incident.cloudevent.json");
    assert_eq!(Source::detect(&bytes, None, None, &Hints::default()), Ok(Source::CloudEvents));
    let job = one(Source::CloudEvents, &bytes);
    assert_eq!(job.template.as_deref(), Some("incident-report"));
    assert_eq!(job.priority, Some(PriorityInput::Name("high".into())));
    check_values(
        &data(&job),
        &[
            ("/event/kind", json!("incident_detected")),
            (
                "/incident",
                json!({
                    "id": "INC-5", "description": "Queue depth above 10,000", "service": "mailer",
                    "environment": "eu", "detected_at": "2026-06-01T02:03:04Z", "status": "detected",
                }),
            ),
            ("/links", json!([{"label": "Ticket", "url": "https://tickets.example/5"}])),
        ],
    );
}

fn submitted(extra: Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": "1", "source": "/erp", "type": "dev.bul.job.submitted.v1",
        "data": {"query": "A memo"},
    });
    event.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    event
}

#[test]
fn a_job_inside_a_cloud_event() {
    let key =
        |event: Value| one(Source::CloudEvents, event.to_string().as_bytes()).idempotency_key.expect("a key");
    let plain = key(submitted(json!({})));
    assert!(plain.starts_with("ce:") && plain.len() < 100);
    assert_eq!(plain, key(submitted(json!({"time": "2026-01-01T00:00:00Z"}))), "id and source decide");
    assert_ne!(plain, key(submitted(json!({"id": "2"}))));
    assert_eq!(key(submitted(json!({"idempotencykey": "k1"}))), "k1");
    assert_eq!(key(submitted(json!({"data": {"query": "x", "idempotency_key": "own"}}))), "own");
    let mut encoded = submitted(json!({"data_base64": "eyJxdWVyeSI6IkEgbWVtbyJ9"}));
    encoded.as_object_mut().expect("an object").shift_remove("data");
    assert_eq!(key(encoded), plain);
    let hints = Hints {
        ce_type: Some("dev.bul.job.submitted.v1".into()),
        ce_id: Some("1".into()),
        ce_source: Some("/erp".into()),
        ..Hints::default()
    };
    let binary = one_with(Source::CloudEvents, br#"{"query":"A memo"}"#, &hints);
    assert_eq!(binary.idempotency_key, Some(plain));
}

#[test]
fn a_batch_of_cloud_events_reports_all_bad_ones() {
    let batch = json!([
        submitted(json!({})),
        submitted(json!({"id": ""})),
        submitted(json!({"type": "com.example.unknown"})),
        submitted(json!({"data": {"query": 5}})),
        submitted(json!({"datacontenttype": "text/plain"})),
    ]);
    let found = places(Source::CloudEvents, batch.to_string().as_bytes());
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("/1/id: is missing"), "{found:#?}");
    assert!(
        found[1].starts_with("/2")
            && found[1].contains("expected dev.bul.job.submitted.v1 or dev.cdevents.*")
    );
    assert!(found[2].starts_with("/3/data/query: "), "{found:#?}");
    assert!(found[3].starts_with("/4/datacontenttype: "), "{found:#?}");
}

#[test]
fn a_push_with_its_changes() {
    let bytes = fixture("github_push.json");
    assert_eq!(Source::detect(&bytes, Some("x.json"), None, &Hints::default()), Ok(Source::Github));
    let hints = Hints { github_delivery: Some("d-1".into()), ..Hints::default() };
    let job = one_with(Source::Github, &bytes, &hints);
    assert!(job.idempotency_key.as_deref().is_some_and(|key| key.starts_with("github:d-1:")));
    check_values(
        &data(&job),
        &[
            (
                "/event",
                json!({
                    "kind": "push", "type": "push", "source": "https://git.example/acme/shop", "id": "d-1",
                    "time": "2026-01-02T04:04:05+01:00", "url": "https://git.example/acme/shop/compare/1...2",
                }),
            ),
            ("/repository", json!("acme/shop")),
            ("/branch", json!("trunk")),
            ("/state", json!("forced")),
            ("/files", json!({"added": 2, "modified": 1, "removed": 1})),
            (
                "/changes",
                json!([
                    {
                        "id": "3333", "title": "Add basket", "description": "Keeps it for a week.", "author": "Ana",
                        "url": "https://git.example/3333", "time": "2026-01-02T03:04:05+01:00",
                    },
                    {"id": "2222", "title": "Fix total", "author": "bo", "time": "2026-01-02T04:04:05+01:00"},
                ]),
            ),
        ],
    );
    let form: String =
        String::from_utf8(bytes.clone()).expect("UTF-8").bytes().fold("payload=".into(), |mut s, b| {
            s.push_str(&format!("%{b:02x}"));
            s
        });
    let from_form = one(Source::Github, form.as_bytes());
    assert_eq!(from_form, one(Source::Github, &bytes), "a form holds the same delivery");
}

#[test]
fn other_events_of_github() {
    let repository = json!({"full_name": "a/b", "name": "b"});
    let (template, merged) = github(
        "pull_request",
        &json!({"action": "closed", "repository": repository, "pull_request": {
            "number": 4, "title": "Faster", "merged": true, "merged_at": "2026-01-01T00:00:00Z", "changed_files": 2,
            "user": {"login": "ana"}, "base": {"ref": "main"}, "head": {"ref": "fast"}}}),
    );
    assert_eq!(template.as_deref(), Some("release-notes"));
    check_values(
        &merged,
        &[
            ("/event/kind", json!("merge")),
            ("/event/type", json!("pull_request.closed")),
            ("/state", json!("merged")),
            ("/changes/0/id", json!("#4")),
            ("/details", json!({"changed_files": 2, "from": "fast"})),
        ],
    );
    let (template, issue) = github(
        "issues",
        &json!({"action": "opened", "repository": repository, "issue": {"number": 9, "title": "Down",
            "state": "open", "created_at": "2026-01-01T00:00:00Z", "user": {"login": "bo"}, "body": null}}),
    );
    assert_eq!(template.as_deref(), Some("incident-report"));
    check_values(&issue, &[("/incident/id", json!("#9")), ("/ticket/reporter", json!("bo"))]);
    let (_, run) = github(
        "workflow_run",
        &json!({"action": "completed", "repository": repository, "workflow_run": {"name": "ci",
            "conclusion": "failure", "head_branch": "main", "run_number": 7}}),
    );
    check_values(
        &run,
        &[("/event/kind", json!("build")), ("/pipeline", json!("ci")), ("/state", json!("failure"))],
    );
    let (_, deployed) = github(
        "deployment_status",
        &json!({"repository": repository, "deployment": {"ref": "v2", "sha": "f00"},
            "deployment_status": {"state": "success", "environment": "prod"}}),
    );
    check_values(&deployed, &[("/environment", json!("prod")), ("/version", json!("v2"))]);
    let (_, created) = github("create", &json!({"ref": "v3", "ref_type": "tag", "repository": repository}));
    check_values(&created, &[("/event/kind", json!("tag")), ("/version", json!("v3"))]);
}

#[test]
fn unknown_events_name_the_known_ones() {
    let hints = |event: &str| Hints { github_event: Some(event.into()), ..Hints::default() };
    check_error_with(
        Source::Github,
        b"{}",
        &hints("star"),
        "\"star\" makes no document; supported are: push,",
    );
    check_error_with(
        Source::Github,
        br#"{"action":"labeled","issue":{}}"#,
        &hints("issues"),
        "\"issues.labeled\"",
    );
    check_error_with(Source::Github, br#"{"zen":"x","hook":{}}"#, &hints("ping"), "ping is a test");
    check_error(Source::Github, b"{}", "cannot tell which GitHub event");
    check_error(Source::Gitlab, br#"{"object_kind":"wiki_page"}"#, "\"wiki_page\" makes no document");
    check_error(Source::Odoo, b"{}", "not available in this version");
    let strange =
        br#"{"context":{"id":"1","source":"s","type":"dev.cdevents.moon.landed.1"},"subject":{"id":"x"}}"#;
    check_error(Source::Cdevents, strange, "with a subject of: artifact,");
    assert_eq!(
        places(Source::Cdevents, br#"{"context":{"timestamp":"soon"}}"#),
        [
            "/context/id: is missing",
            "/context/source: is missing",
            "/context/type: is missing",
            "/subject/id: is missing",
            "/context/timestamp: is not an RFC 3339 time",
        ]
    );
}

#[test]
fn events_of_gitlab() {
    let project = json!({"path_with_namespace": "acme/shop", "web_url": "https://lab.example/acme/shop"});
    let job = |payload: Value| {
        let bytes = payload.to_string();
        assert_eq!(Source::detect(bytes.as_bytes(), None, None, &Hints::default()), Ok(Source::Gitlab));
        let job = one(Source::Gitlab, bytes.as_bytes());
        (job.template.clone(), data(&job))
    };
    let (_, push) = job(json!({"object_kind": "push", "ref": "refs/heads/main", "before": "1", "after": "2",
        "project": project, "user_name": "Ana", "total_commits_count": 40,
        "commits": [{"id": "2", "message": "Fix\nmore", "timestamp": "2026-01-02T03:04:05Z"}]}));
    check_values(
        &push,
        &[
            ("/event/kind", json!("push")),
            ("/change_count", json!(40)),
            ("/changes/0/description", json!("more")),
        ],
    );
    let (_, merged) = job(json!({"object_kind": "merge_request", "project": project, "object_attributes": {
        "iid": 3, "title": "T", "action": "merge", "updated_at": "2026-01-02 03:04:05 UTC"}}));
    check_values(&merged, &[("/event/time", json!("2026-01-02T03:04:05Z")), ("/changes/0/id", json!("!3"))]);
    let (_, run) = job(json!({"object_kind": "pipeline", "project": project, "object_attributes": {
        "id": 31, "status": "failed", "ref": "main"}, "builds": [{"name": "unit", "status": "failed",
        "finished_at": "2026-01-02 03:04:05 +0100"}]}));
    check_values(&run, &[("/checks/0/finished_at", json!("2026-01-02T03:04:05+01:00"))]);
    let (template, issue) = job(json!({"object_kind": "issue", "project": project, "object_attributes": {
        "iid": 8, "title": "Down", "action": "open", "state": "opened", "severity": "critical"}}));
    assert_eq!(template.as_deref(), Some("incident-report"));
    check_values(&issue, &[("/incident/severity", json!("critical"))]);
    let (_, release) =
        job(json!({"object_kind": "release", "project": project, "tag": "v1", "action": "create"}));
    check_values(&release, &[("/version", json!("v1")), ("/event/kind", json!("release"))]);
}

fn sales_invoice(extra: Value) -> String {
    let mut doc = json!({
        "doctype": "Sales Invoice", "name": "SINV-1", "docstatus": 1, "posting_date": "2026-02-03",
        "due_date": "2026-03-03", "currency": "EUR", "company": "Moor Ltd", "customer": "C-1",
        "customer_name": "Harbour Inn", "address_display": "Quay 1<br>\nBremen &amp; more<br>", "terms": "<p>14 days</p>",
        "items": [{"idx": 1, "item_code": "OAK", "item_name": "Oak table", "qty": 2.0, "rate": 50.5, "amount": 101.0,
                   "uom": "Nos", "description": "<div>Solid</div>"}],
        "taxes": [{"rate": 19.0, "tax_amount": 19.19}], "total": 101.0, "net_total": 101.0,
        "total_taxes_and_charges": 19.19, "grand_total": 120.190_000_000_000_01, "outstanding_amount": 120.19,
    });
    doc.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    doc.to_string()
}

#[test]
fn a_sales_invoice_of_erpnext() {
    let text = sales_invoice(json!({}));
    assert_eq!(Source::detect(text.as_bytes(), None, None, &Hints::default()), Ok(Source::Frappe));
    let job = one(Source::Frappe, text.as_bytes());
    check_values(
        &data(&job),
        &[
            ("/number", json!("SINV-1")),
            ("/seller/name", json!("Moor Ltd")),
            ("/buyer/name", json!("Harbour Inn")),
            ("/buyer/address/lines", json!(["Quay 1", "Bremen & more"])),
            ("/payment/terms", json!("14 days")),
            ("/lines/0/unit_price", json!("50.5")),
            ("/lines/0/vat_rate", json!("19.0")),
            ("/totals/gross", json!("120.19")),
            ("/vat", json!([{"rate": "19.0", "base": "101.0", "amount": "19.19"}])),
        ],
    );
    let negative = json!({"is_return": 1, "return_against": "SINV-0", "grand_total": -120.19});
    let returned = one(Source::Frappe, sales_invoice(negative).as_bytes());
    assert_eq!(returned.doc_type.as_deref(), Some("credit-note"));
    check_values(&data(&returned), &[("/type_code", json!("381")), ("/totals/gross", json!("120.19"))]);
    check_error(Source::Frappe, sales_invoice(json!({"docstatus": 0})).as_bytes(), "/docstatus: is a draft");
    check_error(
        Source::Frappe,
        sales_invoice(json!({"items": []})).as_bytes(),
        "/items: is missing or empty",
    );
    check_error(Source::Frappe, br#"{"doctype":"Note"}"#, "expected Sales Invoice");
}

#[test]
fn hints_override_what_the_input_says() {
    let hints = Hints {
        template: Some("memo".into()),
        formats: Some(vec!["md".into()]),
        priority: Some("0".into()),
        language: Some("de".into()),
        idempotency_key: Some("mine".into()),
        ..Hints::default()
    };
    let job = one_with(Source::Job, br#"{"template":"document","query":"x","priority":"low"}"#, &hints);
    assert_eq!(job.template.as_deref(), Some("memo"));
    assert_eq!(job.formats, Some(vec!["md".into()]));
    assert_eq!(job.priority, Some(PriorityInput::Number(0)));
    assert_eq!((job.language.as_deref(), job.idempotency_key.as_deref()), (Some("de"), Some("mine")));
    let two = read(Source::Job, br#"[{"query":"x"},{"query":"y"}]"#, &hints).expect("two jobs");
    assert!(two.iter().all(|item| item.job.idempotency_key.is_none()), "one key cannot stand for two jobs");
    assert_eq!(two[1].place, "/1");
}
