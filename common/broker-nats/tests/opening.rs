//! Opening: what is made, checked, set right and refused.

mod kit;

use std::time::Duration;

use bul_broker::Broker;
use bul_broker_nats::{NatsBroker, OpenError, Options};
use bul_harness::{Nats, NatsOptions, free_port};
use bul_job::Lane;
use serde_json::{Value, json};

use kit::*;

async fn refused(url: &str, options: Options) -> OpenError {
    match NatsBroker::open(url, options).await {
        Ok(_) => panic!("{url} is opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn stream_and_consumers_are_as_documented() {
    let (server, broker) = start(Options::default()).await;
    let stream = ask(&server, "STREAM.INFO.BUL_JOBS", Value::Null).await;
    let config = &stream["config"];
    assert_eq!(config["retention"], json!("workqueue"));
    assert_eq!(config["storage"], json!("file"));
    assert_eq!(config["discard"], json!("new"));
    assert_eq!(
        config["subjects"],
        json!(["bul.jobs.critical.*", "bul.jobs.high.*", "bul.jobs.normal.*", "bul.jobs.low.*"])
    );
    let consumer = ask(&server, "CONSUMER.INFO.BUL_JOBS.bul-critical", Value::Null).await;
    let config = &consumer["config"];
    assert_eq!(config["filter_subject"], json!("bul.jobs.critical.*"));
    assert_eq!(config["ack_policy"], json!("explicit"));
    assert_eq!(config["max_deliver"], json!(-1));
    assert_eq!(config["ack_wait"], json!(30_000_000_000_u64));
    let info = broker.info();
    assert_eq!((info.kind, info.durable, info.notes), ("nats", true, vec![]));
    assert_eq!(info.location, format!("nats://127.0.0.1:{}", server.port()));
}

#[tokio::test]
async fn a_differing_stream_is_set_right_and_keeps_what_others_set() {
    let server = Nats::start().unwrap();
    let config = json!({
        "name": "BUL_JOBS", "subjects": ["bul.jobs.>"], "retention": "workqueue", "storage": "file",
        "discard": "old", "max_age": 3_600_000_000_000_u64, "description": "ours"
    });
    ask(&server, "STREAM.CREATE.BUL_JOBS", config).await;
    drop(open(&server, Options::default()).await);
    let options =
        Options { ack_wait: Duration::from_secs(45), messages_max: Some(1_000), ..Options::default() };
    let broker = open(&server, options).await;
    let stream = ask(&server, "STREAM.INFO.BUL_JOBS", Value::Null).await;
    let config = &stream["config"];
    assert_eq!((&config["discard"], &config["max_age"]), (&json!("new"), &json!(0)));
    assert_eq!((&config["description"], &config["max_msgs"]), (&json!("ours"), &json!(1_000)));
    let consumer = ask(&server, "CONSUMER.INFO.BUL_JOBS.bul-low", Value::Null).await;
    assert_eq!(consumer["config"]["ack_wait"], json!(45_000_000_000_u64));
    broker.publish(&[message(Lane::Low)]).await.unwrap();
    next(&broker, Lane::Low).await.ack().await.unwrap();
}

#[tokio::test]
async fn another_stream_of_the_name_is_refused() {
    let server = Nats::start().unwrap();
    let config =
        json!({ "name": "BUL_JOBS", "subjects": ["else.>"], "retention": "limits", "storage": "memory" });
    ask(&server, "STREAM.CREATE.BUL_JOBS", config).await;
    let error = refused(&server.url(), Options::default()).await.to_string();
    assert!(
        error.contains(r#"retention is "limits" instead of "workqueue""#) && error.contains("storage"),
        "{error}"
    );
    let overlap = json!({ "name": "OTHER", "subjects": ["x.jobs.>"], "storage": "file" });
    ask(&server, "STREAM.CREATE.OTHER", overlap).await;
    let error =
        refused(&server.url(), Options { prefix: "x".into(), ..Options::default() }).await.to_string();
    assert!(error.contains("X_JOBS") && error.contains("overlap"), "{error}");
}

/// The newest release, told to sync each write, which the old one refuses to start with.
#[tokio::test]
async fn a_server_may_sync_every_write() {
    let server = newest(NatsOptions { sync_always: true, ..NatsOptions::default() });
    let broker = open(&server, Options::default()).await;
    let sent: Vec<_> = (0..200).map(|_| message(Lane::High)).collect();
    broker.publish(&sent).await.unwrap();
    for expected in &sent {
        let delivery = next(&broker, Lane::High).await;
        assert_eq!(delivery.payload().ready(), Some(expected));
        delivery.ack().await.unwrap();
    }
    let old = Nats::start_with(NatsOptions { sync_always: true, ..NatsOptions::default() });
    assert!(old.is_err() || std::env::var_os("BUL_TEST_NATS_SERVER").is_some());
}

#[tokio::test]
async fn installations_share_a_server() {
    let (server, first) = start(Options::default()).await;
    let second = open(&server, Options { prefix: "other".into(), ..Options::default() }).await;
    first.publish(&[message(Lane::High)]).await.unwrap();
    assert!(second.fetch(Lane::High, 1).await.unwrap().is_empty());
    next(&first, Lane::High).await.ack().await.unwrap();
}

#[tokio::test]
async fn credentials_are_used_and_never_shown() {
    let login = Some(("bul".to_string(), "hunter2-%40".to_string()));
    let server = Nats::start_with(NatsOptions { login, ..NatsOptions::default() }).unwrap();
    let place = format!("127.0.0.1:{}", server.port());
    let broker =
        NatsBroker::open(&format!("nats://bul:hunter2-%2540@{place}"), Options::default()).await.unwrap();
    broker.check().await.unwrap();
    assert!(!format!("{:?}", broker.info()).contains("hunter"));
    let error = refused(&format!("nats://bul:secret@{place}"), Options::default()).await;
    assert!(matches!(error, OpenError::Denied { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
    let error = refused(&format!("nats://{place}"), Options::default()).await;
    assert!(matches!(error, OpenError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let error = refused(&format!("nats://u:secret@127.0.0.1:{}", free_port()), Options::default()).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
    let lines = "jetstream: disabled".to_string();
    let server = Nats::start_with(NatsOptions { lines, ..NatsOptions::default() }).unwrap();
    let options = Options { connect_timeout: Duration::from_secs(1), ..Options::default() };
    let error = refused(&server.url(), options).await;
    assert!(matches!(error, OpenError::JetStream { .. }), "{error:?}");
    let error = refused(&server.url(), Options { prefix: "a.b".into(), ..Options::default() }).await;
    assert!(matches!(error, OpenError::Prefix(_)), "{error:?}");
}
