//! Programs in other languages publish straight onto the lanes.

mod kit;

use std::path::{Path, PathBuf};

use bul_broker::{Broker, Foreign, Payload};
use bul_broker_nats::Options;
use bul_job::Lane;
use serde_json::{Value, json};

use kit::*;

/// Runs a program of `tests/it/clients` and fetches what it has published.
async fn published_by(program: PathBuf, script: &str, before: &[&str]) -> Foreign {
    let (server, broker) = start(Options::default()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/clients").join(script);
    let mut command = tokio::process::Command::new(&program);
    command.arg(script).args(before).args([&server.url(), "acme", "Grüße"]);
    let output = command.output().await.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("published"), "{out}{err}");
    let delivery = next(&broker, Lane::High).await;
    let Payload::Foreign(foreign) = delivery.payload().clone() else {
        panic!("{:?} is taken for ours", delivery.payload())
    };
    delivery.ack().await.unwrap();
    assert!(broker.fetch(Lane::High, 1).await.unwrap().is_empty(), "the repetition came as well");
    foreign
}

#[tokio::test]
async fn a_python_program_publishes() {
    let foreign = published_by(tools().join("python/bin/python"), "publish_nats.py", &[]).await;
    assert_eq!(
        (foreign.subject.as_str(), foreign.lane, foreign.broken),
        ("bul.jobs.high.acme", Lane::High, None)
    );
    assert_eq!(foreign.tenant, Some("acme".parse().unwrap()));
    assert_eq!(foreign.content_type.as_deref(), Some("application/json"));
    assert_eq!(foreign.message_id.as_deref(), Some("order-4711"));
    assert_eq!(
        foreign.traceparent.as_deref(),
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    );
    let job: Value = serde_json::from_slice(&foreign.body).unwrap();
    assert_eq!(job, json!({ "query": "Grüße", "formats": ["md"], "priority": "high" }));
}

#[tokio::test]
async fn a_node_program_publishes() {
    let modules = tools().join("node_modules").display().to_string();
    let foreign = published_by("node".into(), "publish_nats.mjs", &[&modules]).await;
    assert_eq!(
        (foreign.subject.as_str(), foreign.lane, foreign.broken),
        ("bul.jobs.high.acme", Lane::High, None)
    );
    assert_eq!(foreign.content_type.as_deref(), Some("application/cloudevents+json"));
    assert_eq!(foreign.message_id.as_deref(), Some("order-4712"));
    let event: Value = serde_json::from_slice(&foreign.body).unwrap();
    assert_eq!(event["data"]["query"], json!("Grüße"));
}
