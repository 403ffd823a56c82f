//! Many jobs in one body.

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::{App, invoice, pointers, request};

async fn count(app: &App) -> usize {
    app.get("/v1/jobs?limit=500").await.json()["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn arrays_and_lines_are_batches() {
    let app = App::new().await;
    let answer = app.json("POST", "/v1/jobs/batch", &json!([invoice(), {"query": "A plan"}])).await;
    let value = answer.ok(202).shaped("BatchAnswer");
    assert_eq!((&value["accepted"], &value["invalid"]), (&json!(2), &json!(0)));
    assert_eq!(value["jobs"][1]["outcome"], "new");
    for media_type in ["application/x-ndjson", "application/jsonl"] {
        let lines = format!("{}\n\n{}\n", invoice(), invoice());
        let answer = app.body("POST", "/v1/jobs/batch", media_type, lines).await;
        assert_eq!(answer.ok(202).shaped("BatchAnswer")["accepted"], 2);
    }
    assert_eq!(count(&app).await, 6);
}

#[tokio::test]
async fn one_wrong_job_stops_the_batch_and_all_wrong_places_are_named() {
    let app = App::new().await;
    let batch =
        json!([invoice(), {"template": "invoice"}, {"template": "nonsense"}, {"query": "x", "priority": 9}]);
    let problem = app.json("POST", "/v1/jobs/batch", &batch).await.problem(422, "invalid_job");
    assert_eq!(pointers(&problem), ["/1/data/number", "/2/template", "/3/priority"]);
    assert_eq!(count(&app).await, 0);

    let answer = app.json("POST", "/v1/jobs/batch?mode=each", &batch).await;
    let value = answer.ok(202).shaped("BatchAnswer");
    assert_eq!((&value["accepted"], &value["invalid"]), (&json!(1), &json!(3)));
    assert_eq!(value["jobs"][1]["errors"][0]["pointer"], "/data/number");
    assert_eq!(count(&app).await, 1);

    let unknown = json!([{"query": "x", "colour": 1}, {"query": "x", "size": 1}]);
    let problem = app.json("POST", "/v1/jobs/batch", &unknown).await.problem(422, "invalid_job");
    assert_eq!(pointers(&problem), ["/0/colour", "/1/size"]);
}

#[tokio::test]
async fn conflicts_and_repetitions_are_answers_of_their_own() {
    let app = App::new().await;
    let keyed = |number: &str| {
        let mut job = invoice();
        job["data"]["number"] = json!(number);
        job["idempotency_key"] = json!("k");
        job
    };
    let answer =
        app.json("POST", "/v1/jobs/batch", &json!([keyed("1"), keyed("1"), keyed("2"), invoice()])).await;
    let value = answer.ok(202).shaped("BatchAnswer");
    let outcomes: Vec<&Value> = value["jobs"].as_array().unwrap().iter().map(|j| &j["outcome"]).collect();
    assert_eq!(outcomes, ["new", "existing", "conflict", "new"]);
    assert_eq!(value["conflicts"], 1);
}

#[tokio::test]
async fn a_batch_has_limits() {
    let app = App::new().await;
    app.json("POST", "/v1/jobs/batch", &json!([])).await.problem(422, "empty");
    let many = Value::Array(vec![invoice(); 1_001]);
    app.json("POST", "/v1/jobs/batch", &many).await.problem(413, "body_too_large");
    app.json("POST", "/v1/jobs/batch?mode=some", &json!([invoice()])).await.problem(400, "bad_parameter");
    let with_key = request("POST", "/v1/jobs/batch", &app.keys.submit)
        .header("content-type", "application/json")
        .header("idempotency-key", "k");
    app.send(with_key.body(Body::from(json!([invoice()]).to_string())).unwrap())
        .await
        .problem(400, "bad_header");
    let mut large = invoice();
    large["data"]["text"] = json!("x".repeat(8 * 1024 * 1024));
    let problem =
        app.json("POST", "/v1/jobs/batch", &json!([invoice(), large])).await.problem(422, "invalid_job");
    assert_eq!(pointers(&problem), ["/1"]);
    assert_eq!(count(&app).await, 0);

    let full = Value::Array(vec![invoice(); 1_000]);
    let answer = app.json("POST", "/v1/jobs/batch", &full).await;
    assert_eq!(answer.ok(202).json()["accepted"], 1_000);
}

#[tokio::test]
async fn other_systems_are_understood() {
    let app = App::new().await;
    let event = json!({
        "specversion": "1.0", "type": "dev.bul.job.submitted.v1", "id": "e-1", "source": "/erp", "data": invoice()
    });
    let answer = app.json("POST", "/v1/ingest/cloudevents?priority=high", &event).await;
    assert_eq!(answer.ok(202).shaped("BatchAnswer")["accepted"], 1);
    assert_eq!(app.get("/v1/jobs").await.json()["items"][0]["lane"], "high");
    app.json("POST", "/v1/ingest/nobody", &event).await.problem(404, "not_found");
    app.json("POST", "/v1/ingest/sap", &json!({})).await.problem(422, "unsupported");
    app.json("POST", "/v1/ingest/generic?colour=1", &invoice()).await.problem(400, "bad_parameter");
    let answer = app.json("POST", "/v1/ingest/generic", &invoice()).await;
    let id = answer.ok(202).json()["jobs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(app.get(&format!("/v1/jobs/{id}")).await.json()["source"], "ingest:generic");
}
