//! The server goes away in every way: killed under load, wiped, frozen. Nothing confirmed is lost, and
//! work flows again by itself.

mod kit;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bul_broker::{Broker, BrokerError};
use bul_broker_rabbitmq::RabbitBroker;
use bul_harness::RabbitMq;
use bul_job::{JobId, Lane};
use parking_lot::Mutex;

use kit::*;

on_both_releases!(
    killed_under_load_it_loses_nothing_that_was_confirmed,
    wiped_it_says_so_and_takes_the_same_publications_again,
    frozen_it_is_unavailable_in_time_and_heals
);

const BATCH: usize = 50;

/// Publishes batches until told to stop; what was confirmed.
async fn produce(broker: RabbitBroker, stop: Arc<AtomicBool>) -> HashSet<JobId> {
    let mut confirmed = HashSet::new();
    while !stop.load(Ordering::SeqCst) {
        let batch = messages(Lane::Normal, BATCH);
        // Over all outages, until it is confirmed: publishing itself waits for a connection.
        while broker.publish(&batch).await.is_err() {
            tokio::task::yield_now().await;
        }
        confirmed.extend(batch.iter().map(|message| message.job));
    }
    confirmed
}

/// Acks everything; what was acked, also twice.
async fn consume(broker: RabbitBroker, seen: Arc<Mutex<HashSet<JobId>>>, acks: Arc<AtomicUsize>) {
    loop {
        let delivery = next(&broker, Lane::Normal).await;
        let job = delivery.payload().ready().expect("one of ours").job;
        // A failed ack is a redelivery: the fence of the store knows the job.
        if delivery.ack().await.is_ok() {
            acks.fetch_add(1, Ordering::SeqCst);
        }
        seen.lock().insert(job);
    }
}

async fn killed_under_load_it_loses_nothing_that_was_confirmed(mut server: RabbitMq) {
    let (producer, consumer) = (open(&server.url()).await, open(&server.url()).await);
    let (stop, seen, acks) =
        (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::new(AtomicUsize::new(0)));
    let producing = tokio::spawn(produce(producer, Arc::clone(&stop)));
    let consuming = tokio::spawn(consume(consumer.clone(), Arc::clone(&seen), Arc::clone(&acks)));
    for round in 0..2 {
        let before = acks.load(Ordering::SeqCst);
        eventually("work flows", async || acks.load(Ordering::SeqCst) > before + 500).await;
        server.kill();
        eventually("it is seen to be gone", async || consumer.depths().await.is_err()).await;
        tokio::task::block_in_place(|| server.restart()).expect("it starts again");
        let (back, before) = (Instant::now(), acks.load(Ordering::SeqCst));
        eventually("work flows again", async || acks.load(Ordering::SeqCst) > before).await;
        println!("round {round}: flows {} ms after it takes connections", back.elapsed().as_millis());
    }
    stop.store(true, Ordering::SeqCst);
    let confirmed = producing.await.expect("the producer ends");
    let missing = || confirmed.difference(&seen.lock()).count();
    eventually("everything confirmed arrives", async || missing() == 0).await;
    println!("{} confirmed, {} acks", confirmed.len(), acks.load(Ordering::SeqCst));
    let is_empty =
        async || consumer.depths().await.is_ok_and(|all| all.iter().all(|d| d.ready + d.unacked == 0));
    eventually("nothing is left", is_empty).await;
    consuming.abort();
}

async fn wiped_it_says_so_and_takes_the_same_publications_again(mut server: RabbitMq) {
    let (producer, consumer) = (open(&server.url()).await, open(&server.url()).await);
    let first = producer.incarnation().await.expect("an id");
    assert_eq!(consumer.incarnation().await.expect("an id"), first, "one server, one id");
    let batch = messages(Lane::High, 20);
    publish(&producer, &batch).await;
    let held = next(&consumer, Lane::High).await;
    tokio::task::block_in_place(|| server.restart()).expect("it starts again");
    eventually("the id is read", async || producer.incarnation().await.is_ok()).await;
    assert_eq!(producer.incarnation().await.expect("an id"), first, "a restart loses nothing");
    tokio::task::block_in_place(|| server.wipe()).expect("it starts empty");
    assert!(held.ack().await.is_err(), "nobody heard this ack");
    let is_other = async || producer.incarnation().await.is_ok_and(|id| id != first);
    eventually("another id is read", is_other).await;
    // A reconciler publishes what the store holds for queued.
    publish(&producer, &batch).await;
    let mut again = drain(&consumer, Lane::High, batch.len()).await;
    again.sort();
    again.dedup();
    assert_eq!(again.len(), batch.len());
}

async fn frozen_it_is_unavailable_in_time_and_heals(server: RabbitMq) {
    let broker = open(&server.url()).await;
    publish(&broker, &messages(Lane::Low, 1)).await;
    next(&broker, Lane::Low).await.ack().await.expect("acked");
    for is_given_up in [false, true] {
        server.freeze().expect("frozen");
        if is_given_up {
            // Heartbeats that stay away end the connection; until then a call is not answered.
            let given_up = async || match broker.check().await {
                Err(BrokerError::Unavailable(why)) => !why.contains("no answer within"),
                _ => false,
            };
            eventually("the connection is given up", given_up).await;
        }
        let batch = messages(Lane::Low, 3);
        let start = Instant::now();
        let published = broker.publish(&batch).await;
        assert!(matches!(published, Err(BrokerError::Unavailable(_))), "{published:?}");
        assert!(matches!(broker.check().await, Err(BrokerError::Unavailable(_))));
        assert!(matches!(broker.depths().await, Err(BrokerError::Unavailable(_))));
        assert!(
            start.elapsed() < options().call_timeout * 3 + Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        server.thaw().expect("thawed");
        publish(&broker, &batch).await;
        let mut expected: HashSet<JobId> = batch.iter().map(|message| message.job).collect();
        while !expected.is_empty() {
            let delivery = next(&broker, Lane::Low).await;
            expected.remove(&delivery.payload().ready().expect("one of ours").job);
            let _ = delivery.ack().await;
        }
        eventually("it works", async || broker.check().await.is_ok()).await;
    }
}
