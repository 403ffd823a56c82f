//! Programs in other languages publish straight onto the exchange; their messages come out as they went in.

mod kit;

use std::path::PathBuf;
use std::process::Command;

use bul_broker::{Broker, Foreign, Payload};
use bul_broker_rabbitmq::RabbitBroker;
use bul_harness::{RabbitMq, tools};
use bul_job::Lane;

use kit::*;

fn publish_with(program: PathBuf, client: &str, args: &[&str]) {
    let client = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/clients").join(client);
    let output = Command::new(&program).arg(client).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; run make test-deps", program.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "published");
}

async fn foreign(broker: &RabbitBroker) -> Foreign {
    let delivery = next(broker, Lane::High).await;
    let Payload::Foreign(foreign) = delivery.payload().clone() else { panic!("taken for ours") };
    delivery.ack().await.expect("acked");
    foreign
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pika_and_amqplib_publish_jobs() {
    let server = RabbitMq::start().expect("RabbitMQ starts");
    let broker = open(&server.url()).await;

    publish_with(tools().join("python/bin/python"), "publish_rabbitmq.py", &[&server.url(), "acme", "Grüße"]);
    let from_python = foreign(&broker).await;
    assert_eq!(from_python.subject, "high.acme");
    assert_eq!((from_python.tenant, from_python.lane), (Some("acme".parse().unwrap()), Lane::High));
    assert_eq!(from_python.content_type.as_deref(), Some("application/json"));
    assert_eq!(from_python.message_id.as_deref(), Some("order-4711"));
    assert!(from_python.traceparent.is_some_and(|trace| trace.starts_with("00-0af76519")));
    assert_eq!(from_python.broken, None);
    assert!(from_python.body.starts_with(br#"{"query": "Gr"#));

    let modules = tools().join("node_modules");
    let args = [&modules.display().to_string(), &server.url(), "globex-2", "Grüße"];
    publish_with("node".into(), "publish_rabbitmq.mjs", &args);
    let from_node = foreign(&broker).await;
    assert_eq!((from_node.tenant, from_node.lane), (Some("globex-2".parse().unwrap()), Lane::High));
    assert_eq!(from_node.content_type.as_deref(), Some("application/cloudevents+json"));
    assert_eq!((from_node.message_id.as_deref(), from_node.traceparent), (Some("order-4712"), None));
    assert!(String::from_utf8_lossy(&from_node.body).contains("Grüße"));
    broker.close().await;
}
