//! An installation in memory, requests to it, and the comparison of answers with `openapi.json`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bul_broker::Broker;
use bul_broker_embedded::EmbeddedBroker;
use bul_job::{Failure, FailureClass, FieldError, Format, JobId, State, TenantId, ValidJob};
use bul_producer::auth::generate_key;
use bul_producer::{AppState, ProducerOptions, Templates};
use bul_store::{Attempt, Begin, Output, Permission, Store, Usage};
use bul_store_sqlite::SqliteStore;
use http_body_util::BodyExt;
use prometheus::Registry;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Two templates; `invoice` wants a number.
struct TestTemplates;

impl Templates for TestTemplates {
    fn check(&self, job: &ValidJob) -> Result<(), Vec<FieldError>> {
        match job.template.as_str() {
            "document" => Ok(()),
            "invoice" if job.data.contains_key("number") => Ok(()),
            "invoice" => Err(vec![FieldError::new("/data/number", "is missing")]),
            "panic" => panic!("a template that panics"),
            other => Err(vec![FieldError::new("/template", format!("unknown template {other:?}"))]),
        }
    }

    fn list(&self) -> Vec<Value> {
        self.show("invoice").into_iter().collect()
    }

    fn show(&self, name: &str) -> Option<Value> {
        (name == "invoice").then(|| {
            json!({
                "name": "invoice", "title": "Invoice", "business_area": "finance", "doc_type": "invoice",
                "description": "An invoice.", "version": "1", "languages": ["en"], "builtin": true, "samples": []
            })
        })
    }
}

/// Keys of tenant `default` by permission, and one of another tenant.
pub struct Keys {
    pub read: String,
    pub submit: String,
    pub operate: String,
    pub stranger: String,
}

pub struct App {
    pub router: Router,
    pub state: AppState,
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub keys: Keys,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    /// The JSON, after comparing it with a shape of the description.
    #[track_caller]
    pub fn shaped(&self, shape: &str) -> Value {
        let value = self.json();
        check_shape(shape, &value);
        value
    }

    /// Asserts a problem: status, code, and that its form is right.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let value = self.shaped("Problem");
        assert_eq!(value["code"], code, "{value}");
        assert_eq!(value["status"], status);
        assert_eq!(value["retryable"] == true, self.headers.contains_key("retry-after"), "{value}");
        value
    }

    #[track_caller]
    pub fn ok(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// JSON Pointers of a problem.
pub fn pointers(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect()
}

#[track_caller]
pub fn check_shape(shape: &str, value: &Value) {
    let document = serde_json::to_value(bul_producer::openapi()).unwrap();
    assert!(document["components"]["schemas"][shape].is_object(), "no shape {shape}");
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/schemas/{shape}"),
        "components": document["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{shape}: {errors:#?}\n{value:#}");
}

impl App {
    pub async fn new() -> Self {
        Self::with(ProducerOptions::default()).await
    }

    pub async fn with(options: ProducerOptions) -> Self {
        let store: Arc<dyn Store> = Arc::new(
            SqliteStore::open(
                ":memory:",
                bul_store_sqlite::Options { confirm_delay: std::time::Duration::ZERO, ..Default::default() },
            )
            .await
            .unwrap(),
        );
        let broker: Arc<dyn Broker> = Arc::new(EmbeddedBroker::default());
        let state =
            AppState::new(store.clone(), broker.clone(), Arc::new(TestTemplates), Registry::new(), options);
        let key = async |name: &str, tenant: &str, permission| {
            let made = generate_key(name, tenant.parse().unwrap(), permission, store.now());
            store.add_key(&made.key).await.unwrap();
            made.text
        };
        let keys = Keys {
            read: key("reader", "default", Permission::Read).await,
            submit: key("submitter", "default", Permission::Submit).await,
            operate: key("operator", "default", Permission::Operate).await,
            stranger: key("stranger", "other", Permission::Operate).await,
        };
        Self { router: bul_producer::router(state.clone()), state, store, broker, keys }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// A request with a key and without a body.
    pub async fn call(&self, method: &str, path: &str, key: &str) -> Answer {
        self.send(request(method, path, key).body(Body::empty()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &self.keys.operate).await
    }

    /// A request with a body of JSON, with the operator's key.
    pub async fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.body(method, path, "application/json", body.to_string()).await
    }

    pub async fn body(&self, method: &str, path: &str, media_type: &str, body: impl Into<Body>) -> Answer {
        let request = request(method, path, &self.keys.operate).header("content-type", media_type);
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Submits an invoice and returns its id.
    pub async fn submitted(&self) -> JobId {
        let answer = self.json("POST", "/v1/jobs", &invoice()).await;
        answer.ok(202).json()["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn begin(&self, id: JobId) -> Box<Attempt> {
        match self.store.begin(id, "worker-1", Duration::from_secs(60)).await.unwrap() {
            Begin::Run(attempt) => attempt,
            Begin::Skip(state) => panic!("not given out: {state}"),
        }
    }

    /// Lets a job end with documents.
    pub async fn complete(&self, id: JobId, title: &str) {
        let attempt = self.begin(id).await;
        let output = Output {
            documents: vec![(Format::Md, b"# Done".to_vec()), (Format::Html, b"<h1>Done</h1>".to_vec())],
            title: title.into(),
            usage: Usage { prompt_tokens: 7, output_tokens: 3, ..Usage::default() },
            findings: Vec::new(),
            kept_texts: false,
            turn: None,
        };
        self.store.complete(id, attempt.attempt, &output).await.unwrap();
    }

    /// Lets a job die.
    pub async fn kill(&self, id: JobId) {
        let attempt = self.begin(id).await;
        let failure = Failure {
            class: FailureClass::Permanent,
            code: "bad_data".into(),
            message: "the total is wrong".into(),
            retry_after_ms: None,
        };
        self.store.fail(id, attempt.attempt, &failure).await.unwrap();
    }

    /// A job that has died.
    pub async fn dead(&self) -> JobId {
        let id = self.submitted().await;
        self.kill(id).await;
        id
    }

    pub async fn state_of(&self, id: JobId) -> State {
        self.store.job(&TenantId::default_tenant(), id).await.unwrap().summary.status.state
    }
}

pub fn request(method: &str, path: &str, key: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"))
}

pub fn invoice() -> Value {
    json!({"template": "invoice", "data": {"number": "2026-17"}, "formats": ["md", "html"]})
}
