//! The remote backend against a local server that misbehaves in every way listed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use bul_engine::{
    Completion, Constraint, Finish, Generate, GenerateError, Message, ModelSpec, OpenAi, OpenAiOptions,
    Request, Role, Sampling, Scope,
};
use bul_runtime::breaker::BreakerState;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Script = dyn Fn(usize, Value) -> Response<Body> + Send + Sync;

/// A server whose n-th answer is `script(n, body)`, and how often it was asked.
async fn serve(
    script: impl Fn(usize, Value) -> Response<Body> + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let script: Arc<Script> = Arc::new(script);
    let handler = move |request: HttpRequest| {
        let (script, counted) = (script.clone(), counted.clone());
        async move {
            let authorised = request.headers().get("authorization").is_some_and(|v| v == "Bearer sk-test");
            let bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let n = counted.fetch_add(1, Ordering::SeqCst);
            if !authorised {
                return (StatusCode::UNAUTHORIZED, "{\"error\":{\"message\":\"no key\"}}").into_response();
            }
            script(n, body)
        }
    };
    let app = Router::new().route("/v1/chat/completions", post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}/v1"), calls)
}

fn options(base: &str) -> OpenAiOptions {
    let mut options = OpenAiOptions::new(base.into(), "tiny".into(), Some("sk-test".into()));
    options.retry_delay = Duration::from_millis(1);
    options.retry_delay_max = Duration::from_millis(20);
    options
}

fn model(base: &str) -> OpenAi {
    OpenAi::new(options(base), None).expect("a client")
}

fn request() -> Request {
    Request {
        id: "r".into(),
        tenant: "acme".into(),
        session: None,
        messages: vec![Message { role: Role::User, text: "Hello?".into(), scope: Scope::Tenant }],
        sampling: Sampling::default(),
        stop: Vec::new(),
        constraint: None,
        priority: 1,
    }
}

async fn ask(model: &OpenAi, request: Request) -> Result<Completion, GenerateError> {
    model.generate(request, None, CancellationToken::new()).await
}

fn event(content: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": content}}]}))
}

fn last() -> String {
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 32}}});
    format!("data: {finish}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

fn sse(body: impl Into<Body>) -> Response<Body> {
    Response::builder().header("content-type", "text/event-stream").body(body.into()).expect("a response")
}

fn says(text: &str) -> Response<Body> {
    let words: String = text.split_inclusive(' ').map(event).collect();
    sse(words + &last())
}

fn status(code: u16, headers: &[(&str, &str)]) -> Response<Body> {
    let mut builder = Response::builder().status(code);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from("{\"error\":{\"message\":\"as scripted\"}}")).expect("a response")
}

#[tokio::test]
async fn a_stream_is_read_with_its_usage() {
    let (base, _) = serve(|_, body| {
        assert_eq!(body["model"], "tiny");
        assert_eq!(body["messages"][0]["content"], "Hello?");
        assert_eq!(body["stream"], true);
        says("Grüße an alle.")
    })
    .await;
    let (sender, mut receiver) = mpsc::channel(50);
    let spec = ModelSpec::parse(&format!("openai+{base}#tiny"), Some("sk-test".into()))
        .expect("valid")
        .expect("some");
    let model = bul_engine::open(&spec).expect("a model");
    let done = model.generate(request(), Some(sender), CancellationToken::new()).await.expect("an answer");
    assert_eq!((done.text.as_str(), done.finish), ("Grüße an alle.", Finish::Stop));
    let receipt = done.receipt;
    assert_eq!((receipt.prompt_tokens, receipt.cached_tokens, receipt.output_tokens), (40, 32, 7));
    let mut text = String::new();
    while let Some(piece) = receiver.recv().await {
        text.push_str(&piece);
    }
    assert_eq!(text, done.text);
}

#[tokio::test]
async fn an_answer_in_one_piece_is_read_too() {
    let (base, _) = serve(|_, _| {
        let body = json!({"choices": [{"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
        Response::builder().header("content-type", "application/json").body(body.to_string().into()).expect("response")
    })
    .await;
    let done = ask(&model(&base), request()).await.expect("an answer");
    assert_eq!((done.text.as_str(), done.finish, done.receipt.cached_tokens), ("Yes.", Finish::Length, 0));
}

#[tokio::test]
async fn stop_strings_are_enforced_here_too() {
    let (base, _) = serve(|_, body| {
        assert_eq!(body["stop"][0], "END");
        says("one E ND twoEN D and END three")
    })
    .await;
    let mut request = request();
    request.stop = vec!["END".into()];
    let done = ask(&model(&base), request).await.expect("an answer");
    assert_eq!(done.text, "one E ND twoEN D and ");
}

#[tokio::test]
async fn overload_is_tried_again_when_the_server_says() {
    let (base, calls) = serve(|n, _| match n {
        0 => status(429, &[("retry-after", "0")]),
        1 => status(503, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]),
        _ => says("done."),
    })
    .await;
    assert_eq!(ask(&model(&base), request()).await.expect("an answer").text, "done.");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let (base, calls) = serve(|_, _| status(429, &[("retry-after", "3600")])).await;
    let error = ask(&model(&base), request()).await.expect_err("too long a wait");
    assert_eq!(error.retry_after_ms(), Some(3_600_000));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn failures_open_the_breaker() {
    let (base, calls) = serve(|_, _| status(500, &[])).await;
    let mut options = options(&base);
    options.retries_max = 2;
    options.breaker.calls_min = 4;
    let model = OpenAi::new(options, None).expect("a client");
    let error = ask(&model, request()).await.expect_err("500");
    assert!(
        matches!(&error, GenerateError::Unavailable { reason, .. } if reason.contains("as scripted")),
        "{error}"
    );
    // It was asked once more, which the open breaker that the second try met does not hide.
    let error = ask(&model, request()).await.expect_err("500, then open");
    assert!(matches!(error, GenerateError::Unavailable { .. }), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    assert!(matches!(ask(&model, request()).await, Err(GenerateError::BreakerOpen { .. })));
    assert_eq!(calls.load(Ordering::SeqCst), 4, "nothing was tried");
}

#[tokio::test]
async fn a_server_that_nobody_reaches_has_not_been_asked_and_one_request_opens_the_breaker() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let base = format!("http://127.0.0.1:{port}/v1");
    let mut options = OpenAiOptions::new(base, "tiny".into(), None);
    options.retry_delay = std::time::Duration::from_millis(1);
    let model = OpenAi::new(options, None).expect("a client");
    let error = ask(&model, request()).await.expect_err("nobody listens");
    assert!(matches!(error, GenerateError::Unreachable { .. }), "{error}");
    assert_eq!(model.breaker_state(), BreakerState::Open);
}

#[tokio::test]
async fn the_callers_own_mistakes_are_not_tried_again() {
    let (base, calls) = serve(|_, _| status(400, &[])).await;
    let error = ask(&model(&base), request()).await.expect_err("400");
    assert!(matches!(&error, GenerateError::Rejected(reason) if reason.contains("as scripted")), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let keyless = OpenAi::new(OpenAiOptions::new(base, "tiny".into(), None), None).expect("a client");
    let error = ask(&keyless, request()).await.expect_err("401");
    assert!(matches!(&error, GenerateError::Rejected(reason) if reason.contains("401")), "{error}");
}

#[tokio::test]
async fn waits_are_bounded() {
    let (base, _) =
        serve(|_, _| sse(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()))).await;
    let mut silent = options(&base);
    silent.retries_max = 1;
    silent.timeouts.idle = Duration::from_millis(30);
    let error = ask(&OpenAi::new(silent, None).expect("a client"), request()).await.expect_err("silent");
    assert!(error.to_string().contains("silent"), "{error}");

    // A listener that never accepts: the connection stands, no byte comes.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let base = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let mut slow = options(&base);
    slow.retries_max = 0;
    slow.timeouts.first_byte = Duration::from_millis(30);
    let error = ask(&OpenAi::new(slow, None).expect("a client"), request()).await.expect_err("slow");
    assert!(error.to_string().contains("no answer within"), "{error}");

    let drip = || {
        stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(": wait\n\n"))).then(|b| async {
            tokio::task::yield_now().await;
            b
        })
    };
    let (base, _) = serve(move |_, _| sse(Body::from_stream(drip()))).await;
    let mut endless = options(&base);
    endless.retries_max = 0;
    endless.response_bytes_max = usize::MAX;
    endless.timeouts.total = Duration::from_millis(50);
    let error = ask(&OpenAi::new(endless, None).expect("a client"), request()).await.expect_err("endless");
    assert!(error.to_string().contains("no whole answer"), "{error}");

    drop(listener);
    let gone = ask(&model("http://127.0.0.1:9/v1"), request()).await.expect_err("nobody listens");
    assert!(matches!(gone, GenerateError::Unreachable { .. }), "{gone}");
}

#[tokio::test]
async fn a_cut_stream_is_tried_again_unless_text_was_shown() {
    let script = |n: usize, _: Value| if n == 0 { sse(event("half ")) } else { says("whole answer.") };
    let (base, calls) = serve(script).await;
    assert_eq!(ask(&model(&base), request()).await.expect("an answer").text, "whole answer.");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let (base, calls) = serve(script).await;
    let (sender, _receiver) = mpsc::channel(10);
    let result = model(&base).generate(request(), Some(sender), CancellationToken::new()).await;
    assert!(matches!(result, Err(GenerateError::Unavailable { .. })), "{result:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn garbage_and_huge_answers_are_refused() {
    let (base, _) = serve(|_, _| sse("data: {not json\n\n")).await;
    let error = ask(&model(&base), request()).await.expect_err("garbage");
    assert!(error.to_string().contains("no completion"), "{error}");
    let (base, calls) = serve(|_, _| says(&"word ".repeat(10_000))).await;
    let mut small = options(&base);
    small.response_bytes_max = 10_000;
    let error = ask(&OpenAi::new(small, None).expect("a client"), request()).await.expect_err("huge");
    assert!(error.to_string().contains("larger than"), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let (base, _) = serve(|_, _| sse("data: {\"error\": {\"message\": \"out of memory\"}}\n\n")).await;
    let error = ask(&model(&base), request()).await.expect_err("reported");
    assert!(error.to_string().contains("out of memory"), "{error}");
}

#[tokio::test]
async fn a_wrong_shape_is_asked_for_again() {
    let constraint = Constraint::Prose { facts: vec!["total".into()], sentences: 1, said: Vec::new() };
    let shaped = || Request { constraint: Some(constraint.clone()), ..request() };
    let (base, calls) = serve(|n, body| {
        let messages = body["messages"].as_array().map_or(0, Vec::len);
        assert_eq!(messages, 1 + 2 * n, "each correction adds the answer and what is wrong with it");
        says(["The total is 100 euros.", "**No.**", " The sum is [total] today. "][n])
    })
    .await;
    let (sender, mut receiver) = mpsc::channel(10);
    let done =
        model(&base).generate(shaped(), Some(sender), CancellationToken::new()).await.expect("an answer");
    assert_eq!(done.text, "The sum is [total] today.");
    assert_eq!(done.receipt.output_tokens, 21, "all three answers were paid for");
    assert_eq!(receiver.recv().await.as_deref(), Some("The sum is [total] today."));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let (base, calls) = serve(|_, _| says("Never. Right.")).await;
    let error = ask(&model(&base), shaped()).await.expect_err("wrong shape");
    assert!(matches!(error, GenerateError::Shape(_)), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_schema_is_sent_and_the_answer_must_be_json() {
    let schema = json!({"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"],
        "additionalProperties": false});
    let constraint = Constraint::Schema { schema: schema.to_string() };
    let held = || Request { constraint: Some(constraint.clone()), ..request() };
    let (base, calls) = serve(move |n, body| {
        let format = &body["response_format"];
        assert_eq!(format["type"], "json_schema");
        assert_eq!(
            (&format["json_schema"]["schema"], &format["json_schema"]["strict"]),
            (&schema, &json!(true))
        );
        says(["Here it is: {", " {\"total\": 5} "][n])
    })
    .await;
    let done = ask(&model(&base), held()).await.expect("an answer");
    assert_eq!((done.text.as_str(), calls.load(Ordering::SeqCst)), ("{\"total\": 5}", 2));
    // Without a schema no format is asked for, and a schema that cannot be read never leaves the house.
    let (base, calls) = serve(|_, body| {
        assert!(body.get("response_format").is_none());
        says("fine")
    })
    .await;
    assert_eq!(ask(&model(&base), request()).await.expect("an answer").text, "fine");
    let broken = Request { constraint: Some(Constraint::Schema { schema: "{".into() }), ..request() };
    let error = ask(&model(&base), broken).await.expect_err("no schema");
    assert!(matches!(error, GenerateError::Rejected(_)), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// Reports when it is dropped.
struct Guard(mpsc::Sender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

#[tokio::test]
async fn cancelling_drops_the_connection() {
    let (dropped, mut seen) = mpsc::channel(8);
    let (base, _) = serve(move |_, _| {
        let guard = Guard(dropped.clone());
        let start = stream::once(async { Ok::<_, Infallible>(Bytes::from(event("half "))) });
        // The rest of the body never comes and holds the guard.
        let rest = stream::unfold(guard, |guard| async move {
            std::future::pending::<()>().await;
            Some((Ok(Bytes::new()), guard))
        });
        sse(Body::from_stream(start.chain(rest)))
    })
    .await;
    let model = model(&base);
    let cancel = CancellationToken::new();
    let (sender, mut receiver) = mpsc::channel(10);
    let running = model.generate(request(), Some(sender), cancel.clone());
    let stop = async {
        assert_eq!(receiver.recv().await.as_deref(), Some("half "));
        cancel.cancel();
    };
    let (result, ()) = futures::join!(running, stop);
    assert!(matches!(result, Err(GenerateError::Cancelled)), "{result:?}");
    assert_eq!(seen.recv().await, Some(()), "the server saw the connection go");
}
