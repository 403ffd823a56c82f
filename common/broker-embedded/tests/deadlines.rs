//! What only a clock that can be moved shows: exact deadlines, bounded memory of recent messages.

use std::time::Duration;

use bul_broker::{Broker, Message};
use bul_broker_embedded::{EmbeddedBroker, Options};
use bul_job::{JobId, Lane, PublishNo, TenantId};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn message() -> Message {
    Message {
        job: JobId::new(),
        tenant: TenantId::default_tenant(),
        lane: Lane::Normal,
        publish: PublishNo(1),
    }
}

#[tokio::test(start_paused = true)]
async fn extending_moves_the_deadline_and_silence_ends_it() {
    let broker = EmbeddedBroker::default();
    broker.publish(&[message()]).await.unwrap();
    let held = broker.fetch(Lane::Normal, 1).await.unwrap().remove(0);
    for _ in 0..5 {
        tokio::time::advance(59 * SECOND).await;
        held.extend().await.unwrap();
        assert!(broker.fetch(Lane::Normal, 1).await.unwrap().is_empty());
    }
    tokio::time::advance(60 * SECOND).await;
    let again = broker.fetch(Lane::Normal, 1).await.unwrap().remove(0);
    assert_eq!(again.deliveries(), 2);
    assert!(held.extend().await.is_err(), "the first holder has lost it");
    held.nack(Duration::ZERO).await.unwrap();
    assert!(broker.fetch(Lane::Normal, 1).await.unwrap().is_empty(), "and cannot give it to a third");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_wakes_at_the_deadline_itself() {
    let broker = EmbeddedBroker::default();
    broker.publish(&[message(), message()]).await.unwrap();
    let start = Instant::now();
    let mut held = broker.fetch(Lane::Normal, 2).await.unwrap();
    held.remove(0).nack(7 * SECOND).await.unwrap();
    broker.ready(&[Lane::Normal]).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 7);
    broker.fetch(Lane::Normal, 1).await.unwrap().remove(0).ack().await.unwrap();
    broker.ready(&[Lane::Normal]).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn memory_of_finished_messages_is_bounded() {
    let broker = EmbeddedBroker::new(Options { recent_max: 2, ..Options::default() });
    let messages = [message(), message(), message()];
    for message in &messages {
        broker.publish(std::slice::from_ref(message)).await.unwrap();
        broker.fetch(Lane::Normal, 1).await.unwrap().remove(0).ack().await.unwrap();
    }
    broker.publish(&messages).await.unwrap();
    let again = broker.fetch(Lane::Normal, 9).await.unwrap();
    assert_eq!(again.len(), 1, "only the oldest is forgotten");
    assert_eq!(again[0].payload().ready().unwrap(), &messages[0]);
}
