//! Partitions over time: processes that want different numbers of them, versions that know of none, and a server that has lost them.

mod kit;

use std::collections::HashSet;

use bul_broker::{Broker, Message};
use bul_broker_nats::{NatsBroker, Options};
use bul_harness::Nats;
use bul_job::{JobId, Lane, Partition, Queue};
use serde_json::{Value, json};

use kit::*;

const PARTITIONS: u8 = 4;

fn divided() -> Options {
    Options { partitions: PARTITIONS, ..options() }
}

/// As many as there are partitions, one in each.
fn one_in_each(lane: Lane) -> Vec<Message> {
    let in_partition = |partition: Partition| loop {
        let message = message(lane);
        if message.partition(PARTITIONS) == partition {
            return message;
        }
    };
    Partition::all(PARTITIONS).map(in_partition).collect()
}

async fn take_all(broker: &NatsBroker, lane: Lane, sent: &[Message]) {
    let mut left: HashSet<JobId> = sent.iter().map(|message| message.job).collect();
    while !left.is_empty() {
        let delivery = next(broker, lane).await;
        assert!(left.remove(&delivery.payload().ready().expect("ours").job));
        delivery.ack().await.unwrap();
    }
}

/// What the server is told by a program without partitions that opens.
async fn set_subjects(server: &Nats, subjects: Value) {
    let mut config = ask(server, "STREAM.INFO.BUL_JOBS", Value::Null).await["config"].take();
    config["subjects"] = subjects;
    ask(server, "STREAM.UPDATE.BUL_JOBS", config).await;
}

/// A process that wants one publishes to the first and serves all; one that wants more than there are adds them.
#[tokio::test]
async fn processes_may_want_different_numbers() {
    let (server, undivided) = start(options()).await;
    let before = one_in_each(Lane::High);
    undivided.publish(&before).await.unwrap();
    let broker = open(&server, divided()).await;
    assert_eq!((undivided.partitions(), broker.partitions()), (1, PARTITIONS));
    let first = Queue { lane: Lane::High, partition: Partition::FIRST };
    eventually("all lie in the first", async || broker.depths().await.unwrap()[1].ready == 4).await;
    let taken = broker.fetch_from(&[first], 9).await.unwrap();
    assert_eq!(taken.len(), before.len());
    for delivery in taken {
        delivery.ack().await.unwrap();
    }
    let sent = one_in_each(Lane::High);
    broker.publish(&sent).await.unwrap();
    drop((undivided, broker));
    let later = open(&server, options()).await;
    assert_eq!(later.partitions(), PARTITIONS);
    assert!(later.info().notes.iter().any(|note| note.contains("4 partitions")), "{:?}", later.info());
    take_all(&later, Lane::High, &sent).await;
}

/// A version that knows of none sets the subjects right, as it understands them, when it opens.
#[tokio::test]
async fn partitions_that_an_old_version_has_removed_come_back() {
    let (server, broker) = start(divided()).await;
    let lying = one_in_each(Lane::Normal);
    broker.publish(&lying).await.unwrap();
    let undivided: Vec<String> = Lane::ALL.iter().map(|lane| format!("bul.jobs.{lane}.*")).collect();
    set_subjects(&server, json!(undivided)).await;
    let sent = one_in_each(Lane::Normal);
    publish_at_last(&broker, &sent).await;
    take_all(&broker, Lane::Normal, &[lying, sent].concat()).await;
}

/// The server has lost everything, and the process that makes it anew wants fewer than it serves.
#[tokio::test]
async fn a_wiped_server_has_its_partitions_again() {
    let (mut server, broker) = start(divided()).await;
    drop(broker);
    let broker = open(&server, options()).await;
    server.wipe().unwrap();
    let sent = one_in_each(Lane::Low);
    publish_at_last(&broker, &sent).await;
    take_all(&broker, Lane::Low, &sent).await;
    let divided = open(&server, divided()).await;
    let sent = one_in_each(Lane::Low);
    divided.publish(&sent).await.unwrap();
    take_all(&broker, Lane::Low, &sent).await;
}
