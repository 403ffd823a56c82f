//! Watching a job to its end.

use std::time::Duration;

use axum::body::Body;
use bul_job::{Event, EventKind, JobId, State, TenantId};
use bul_producer::ProducerOptions;
use futures::StreamExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::{App, check_shape, request};

/// An open stream, read event by event.
struct Stream {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Stream {
    async fn open(app: &App, id: JobId) -> Self {
        let request = request("GET", &format!("/v1/jobs/{id}/events"), &app.keys.read);
        let response = app.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Name and data of the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim_start().to_owned())
                };
                let parsed = field("event:").zip(field("data:"));
                self.text = rest.to_owned();
                if let Some((name, data)) = parsed {
                    let data: Value = serde_json::from_str(&data).unwrap();
                    check_shape("Event", &data);
                    return Some((name, data));
                }
                continue;
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn state(&mut self) -> String {
        let (name, data) = self.next().await.expect("an event");
        assert_eq!(name, "state");
        data["state"].as_str().unwrap().to_owned()
    }
}

async fn tell(app: &App, id: JobId, kind: EventKind) {
    let event = Event { tenant: TenantId::default_tenant(), job: id, at: app.store.now(), kind };
    app.broker.publish_event(event).await.unwrap();
}

fn state(state: State, attempt: u32) -> EventKind {
    EventKind::State { state, attempt, message: None }
}

#[tokio::test]
async fn a_watcher_sees_everything_and_then_the_end() {
    let app =
        App::with(ProducerOptions { stream_reread: Duration::from_secs(3_600), ..Default::default() }).await;
    let id = app.submitted().await;
    let mut stream = Stream::open(&app, id).await;
    assert_eq!(stream.state().await, "queued");
    assert!(app.get("/metrics").await.text().contains("bul_event_streams 1"));

    tell(&app, id, state(State::Running, 1)).await;
    tell(&app, id, EventKind::Progress { stage: "plan".into(), done: 1, total: 2 }).await;
    tell(&app, JobId::new(), EventKind::Token { slot: "x".into(), text: "of another job".into() }).await;
    tell(&app, id, EventKind::Token { slot: "summary".into(), text: "All\nis well".into() }).await;
    app.complete(id, "Done").await;
    tell(&app, id, state(State::Completed, 1)).await;

    assert_eq!(stream.state().await, "running");
    assert_eq!(stream.next().await.unwrap().0, "progress");
    let (name, token) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), token["text"].as_str()), ("token", Some("All\nis well")));
    assert_eq!(token.get("tenant"), None);
    assert_eq!(stream.state().await, "completed");
    assert!(stream.next().await.is_none());
    assert!(app.get("/metrics").await.text().contains("bul_event_streams 0"));
}

#[tokio::test]
async fn a_finished_job_gives_its_state_and_the_end() {
    let app = App::new().await;
    let id = app.dead().await;
    let mut stream = Stream::open(&app, id).await;
    let (_, data) = stream.next().await.unwrap();
    assert_eq!(
        (data["state"].as_str(), data["message"].as_str()),
        (Some("dead"), Some("the total is wrong"))
    );
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn lost_events_are_made_up_for_by_the_store() {
    let app =
        App::with(ProducerOptions { stream_reread: Duration::from_millis(1), ..Default::default() }).await;
    let id = app.submitted().await;
    let mut stream = Stream::open(&app, id).await;
    assert_eq!(stream.state().await, "queued");
    // Nobody tells the broker.
    app.complete(id, "Done").await;
    assert_eq!(stream.state().await, "completed");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn without_a_broker_the_store_alone_is_followed() {
    let app =
        App::with(ProducerOptions { stream_reread: Duration::from_millis(1), ..Default::default() }).await;
    let id = app.submitted().await;
    app.broker.close().await;
    let mut stream = Stream::open(&app, id).await;
    assert_eq!(stream.state().await, "queued");
    app.kill(id).await;
    let last = stream.state().await;
    let last = if last == "running" { stream.state().await } else { last };
    assert_eq!(last, "dead");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_stream_has_a_longest_age() {
    let app = App::with(ProducerOptions { stream_age_max: Duration::ZERO, ..Default::default() }).await;
    let id = app.submitted().await;
    let mut stream = Stream::open(&app, id).await;
    assert_eq!(stream.state().await, "queued");
    assert!(stream.next().await.is_none());
}
