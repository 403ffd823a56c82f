//! Cases about waiting, load, limits and the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bul_job::{JobId, Lane};

use super::Fixture;
use super::kit::*;
use crate::{Broker, BrokerError, Depth, Message};

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 4;
const MESSAGES: usize = 10_000;
const BATCH: usize = 10;

/// Polls `ready` until it waits, then lets `act` happen, then expects it to return.
async fn expect_wake_up<F: Future<Output = ()>>(broker: &Arc<dyn Broker>, lanes: &'static [Lane], act: F) {
    let waiter = {
        let broker = Arc::clone(broker);
        tokio::spawn(async move { broker.ready(lanes).await })
    };
    tokio::task::yield_now().await;
    act.await;
    tokio::time::timeout(PATIENCE, waiter).await.expect("the waiter was not woken").unwrap().unwrap();
}

/// Whether the waiter was there before or not.
pub async fn a_waiter_is_woken_by_a_publication(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    for lane in [Lane::Critical, Lane::Low] {
        let act = async {
            publish(&broker, lane).await;
        };
        expect_wake_up(&broker, &[Lane::Critical, Lane::Low], act).await;
        next(&broker, lane).await.ack().await.unwrap();
    }
}

/// A message that comes back is work, too.
pub async fn a_waiter_is_woken_by_a_return(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    publish(&broker, Lane::Normal).await;
    let delivery = next(&broker, Lane::Normal).await;
    expect_wake_up(&broker, &[Lane::Normal], async { drop(delivery) }).await;
    let delivery = next(&broker, Lane::Normal).await;
    let act = async { delivery.nack(Duration::from_secs(1)).await.unwrap() };
    expect_wake_up(&broker, &[Lane::Normal], act).await;
    next(&broker, Lane::Normal).await.ack().await.unwrap();
}

/// Work that was there before the call.
pub async fn ready_returns_at_once_when_there_is_work(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    publish(&broker, Lane::High).await;
    for _ in 0..3 {
        tokio::time::timeout(PATIENCE, broker.ready(&Lane::ALL)).await.unwrap().unwrap();
    }
}

/// Early wake-ups are allowed; what counts is that its own lane still wakes it.
pub async fn a_waiter_is_not_woken_by_another_lane_for_good(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let act = async {
        publish(&broker, Lane::Low).await;
        tokio::task::yield_now().await;
        publish(&broker, Lane::Critical).await;
    };
    expect_wake_up(&broker, &[Lane::Critical], act).await;
    next(&broker, Lane::Critical).await.ack().await.unwrap();
}

/// Producers and consumers at once, some of whom drop or refuse what they get: every message is acked
/// exactly once, and no consumer sleeps over work.
pub async fn nothing_is_lost_or_doubled_under_load(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let acked: Arc<Mutex<HashMap<JobId, u32>>> = Arc::default();
    let producers = (0..PRODUCERS).map(|producer| tokio::spawn(produce(Arc::clone(&broker), producer)));
    let consumers = (0..CONSUMERS).map(|consumer| {
        let (broker, acked) = (Arc::clone(&broker), Arc::clone(&acked));
        tokio::spawn(consume(broker, acked, consumer))
    });
    let consumers: Vec<_> = consumers.collect();
    for producer in futures::future::join_all(producers).await {
        producer.unwrap();
    }
    for consumer in consumers {
        tokio::time::timeout(PATIENCE, consumer).await.expect("a consumer sleeps over work").unwrap();
    }
    let acked = std::mem::take(&mut *acked.lock().unwrap());
    assert_eq!(acked.len(), MESSAGES);
    assert!(acked.values().all(|times| *times == 1), "a message was acked twice");
    depths_become(&broker, [Depth::default(); 4]).await;
}

async fn produce(broker: Arc<dyn Broker>, producer: usize) {
    for n in 0..MESSAGES / PRODUCERS / BATCH {
        let lane = Lane::ALL[(n + producer) % Lane::ALL.len()];
        let owner = ["acme", "globex", "initech"][n % 3];
        let batch: Vec<Message> = (0..BATCH).map(|_| message_of(owner, lane)).collect();
        broker.publish(&batch).await.unwrap();
        // The same again, as a dispatcher does whose answer was lost.
        broker.publish(&batch[..1]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

async fn consume(broker: Arc<dyn Broker>, acked: Arc<Mutex<HashMap<JobId, u32>>>, consumer: usize) {
    let mut turn = consumer;
    while acked.lock().unwrap().len() < MESSAGES {
        for lane in Lane::ALL {
            for delivery in broker.fetch(lane, 7).await.unwrap() {
                turn += 1;
                // The first time some are dropped or refused; what comes back is done.
                match (delivery.deliveries(), turn % 10) {
                    (1, 0) => drop(delivery),
                    (1, 1) => delivery.nack(Duration::ZERO).await.unwrap(),
                    _ => {
                        let job = delivery.payload().ready().unwrap().job;
                        delivery.ack().await.unwrap();
                        *acked.lock().unwrap().entry(job).or_default() += 1;
                    }
                }
            }
        }
        tokio::task::yield_now().await;
        if acked.lock().unwrap().len() < MESSAGES {
            let all_done = async {
                // Another consumer may ack the last one while this one waits for work.
                while acked.lock().unwrap().len() < MESSAGES {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                woken = broker.ready(&Lane::ALL) => woken.unwrap(),
                () = all_done => {}
            }
        }
    }
}

/// Back-pressure, and no message forgotten for it.
pub async fn a_full_broker_refuses_and_recovers(fixture: Box<dyn Fixture>) {
    if !fixture.is_limited() {
        return;
    }
    let broker = fixture.broker();
    for _ in 0..FULL_AT {
        publish(&broker, Lane::Normal).await;
    }
    let one_more = message(Lane::High);
    let refused = broker.publish(std::slice::from_ref(&one_more)).await;
    assert!(matches!(refused, Err(BrokerError::Full(_))), "{refused:?}");
    next(&broker, Lane::Normal).await.ack().await.unwrap();
    broker.publish(std::slice::from_ref(&one_more)).await.unwrap();
    assert_eq!(next(&broker, Lane::High).await.payload().ready().unwrap(), &one_more);
    for _ in 1..FULL_AT {
        next(&broker, Lane::Normal).await.ack().await.unwrap();
    }
}

/// Also to those who wait.
pub async fn a_closed_broker_says_so(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    publish(&broker, Lane::Normal).await;
    let held = next(&broker, Lane::Normal).await;
    let waiter = {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move { broker.ready(&[Lane::Critical]).await })
    };
    tokio::task::yield_now().await;
    broker.close().await;
    broker.close().await;
    let waited = tokio::time::timeout(PATIENCE, waiter).await.expect("the waiter still waits").unwrap();
    assert!(matches!(waited, Err(BrokerError::Closed)), "{waited:?}");
    let published = broker.publish(&[message(Lane::Normal)]).await;
    assert!(matches!(published, Err(BrokerError::Closed)), "{published:?}");
    assert!(broker.fetch(Lane::Normal, 1).await.is_err());
    assert!(broker.check().await.is_err());
    assert!(held.ack().await.is_err(), "nobody heard this ack");
}

/// Both say something true.
pub async fn check_and_info_answer(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    broker.check().await.unwrap();
    let info = broker.info();
    assert!(!info.kind.is_empty() && !info.version.is_empty() && !info.durability.is_empty());
}

/// Whoever publishes everything again at each change would do so for ever.
pub async fn an_incarnation_stays_the_same(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let before = broker.incarnation().await.unwrap();
    assert!(!before.is_empty());
    publish(&broker, Lane::Normal).await;
    assert_eq!(broker.incarnation().await.unwrap(), before);
    next(&broker, Lane::Normal).await.ack().await.unwrap();
    assert_eq!(broker.incarnation().await.unwrap(), before);
}
