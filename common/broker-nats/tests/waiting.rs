//! Cancelled waiters, and several processes on one server.

mod kit;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_broker::Broker;
use bul_broker_nats::Options;
use bul_job::Lane;
use serde_json::Value;
use tokio::sync::Notify;

use kit::*;

/// Less than the ack wait by far: what was lost would return after it only.
const SOON: Duration = Duration::from_secs(10);

/// A worker's loop cancels `ready` and `fetch` at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_calls_lose_nothing() {
    let (_server, broker) = start(Options::default()).await;
    let mut sent = HashSet::new();
    for n in 0..300_u64 {
        let message = message(Lane::ALL[n as usize % 4]);
        broker.publish(std::slice::from_ref(&message)).await.unwrap();
        sent.insert(message.job);
        let instant = Duration::from_micros(n * 7 % 900);
        let _ = tokio::time::timeout(instant, broker.ready(&Lane::ALL)).await;
        let _ = tokio::time::timeout(instant, broker.fetch(Lane::ALL[n as usize % 4], 3)).await;
    }
    let start = Instant::now();
    let mut seen = HashSet::new();
    while seen.len() < sent.len() {
        for lane in Lane::ALL {
            for delivery in broker.fetch(lane, 50).await.unwrap() {
                seen.insert(delivery.payload().ready().unwrap().job);
                delivery.ack().await.unwrap();
            }
        }
        assert!(start.elapsed() < SOON, "{} of {} came", seen.len(), sent.len());
    }
    assert_eq!(seen, sent);
}

/// It was woken and is busy: another gets the message soon.
#[tokio::test]
async fn a_woken_process_that_does_not_fetch_keeps_nothing() {
    let (server, idle) = start(Options::default()).await;
    let other = open(&server, Options::default()).await;
    let (woken, sent) = tokio::join!(idle.ready(&[Lane::Critical]), async {
        let consumer = async || ask(&server, "CONSUMER.INFO.BUL_JOBS.bul-critical", Value::Null).await;
        let is_waited_for = async || consumer().await["num_waiting"].as_u64() > Some(0);
        eventually("a pull lies at the server", is_waited_for).await;
        let sent = message(Lane::Critical);
        other.publish(std::slice::from_ref(&sent)).await.unwrap();
        sent
    });
    woken.unwrap();
    let start = Instant::now();
    let delivery = next(&other, Lane::Critical).await;
    assert_eq!(delivery.payload().ready(), Some(&sent));
    assert!(start.elapsed() < Duration::from_secs(3), "it took {} ms", start.elapsed().as_millis());
    delivery.ack().await.unwrap();
}

/// What is kept and what is held goes to others at once when a process ends in order.
#[tokio::test]
async fn a_closed_process_gives_back() {
    let (server, first) = start(Options::default()).await;
    let second = open(&server, Options::default()).await;
    second.publish(&[message(Lane::High), message(Lane::High), message(Lane::Low)]).await.unwrap();
    let held = first.fetch(Lane::High, 2).await.unwrap();
    first.ready(&[Lane::Low]).await.unwrap();
    first.close().await;
    drop(held);
    let start = Instant::now();
    for lane in [Lane::High, Lane::High, Lane::Low] {
        next(&second, lane).await.ack().await.unwrap();
    }
    assert!(start.elapsed() < SOON, "it took {} ms", start.elapsed().as_millis());
}

/// Four processes on one lane: each message once, and nobody sleeps over work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_a_lane() {
    let (server, producer) = start(Options::default()).await;
    let mut workers = Vec::new();
    let progress = Arc::new(Notify::new());
    for _ in 0..4 {
        let broker = open(&server, Options::default()).await;
        let progress = Arc::clone(&progress);
        workers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            loop {
                let fetched = broker.fetch(Lane::Normal, 8).await.unwrap();
                if fetched.is_empty() {
                    match tokio::time::timeout(Duration::from_secs(2), broker.ready(&[Lane::Normal])).await {
                        Ok(woken) => woken.unwrap(),
                        Err(_) => return done,
                    }
                }
                for delivery in fetched {
                    done.push(delivery.payload().ready().unwrap().job);
                    delivery.ack().await.unwrap();
                    progress.notify_one();
                }
            }
        }));
    }
    let mut sent = HashSet::new();
    for _ in 0..100 {
        let batch: Vec<_> = (0..20).map(|_| message(Lane::Normal)).collect();
        producer.publish(&batch).await.unwrap();
        sent.extend(batch.iter().map(|message| message.job));
        // The next ones come while some are at work, and others wait.
        tokio::time::timeout(SOON, progress.notified()).await.expect("nobody takes anything");
    }
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }
    assert_eq!(done.len(), sent.len(), "a message was handed out twice, or not at all");
    assert_eq!(done.into_iter().collect::<HashSet<_>>(), sent);
}
