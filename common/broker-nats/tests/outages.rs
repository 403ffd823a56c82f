//! Faults of the server: killed, stopped, wiped, frozen, its stream removed.

mod kit;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bul_broker::{Broker, BrokerError, Depth, EventFilter};
use bul_broker_nats::{NatsBroker, Options};
use bul_job::{Event, EventKind, JobId, Lane};
use futures::StreamExt;
use serde_json::Value;

use kit::*;
use tokio::sync::watch;

const BATCHES: usize = 200;
const BATCH: usize = 50;

/// What has been acked, and how often each message came after its ack.
#[derive(Default)]
struct Ledger {
    acked: HashSet<JobId>,
    came_again: HashMap<JobId, u32>,
}

async fn consume(broker: Arc<NatsBroker>, ledger: Arc<Mutex<Ledger>>, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        for lane in Lane::ALL {
            // Below it is waited for what is to come, and for the link.
            let Ok(fetched) = broker.fetch(lane, 20).await else { continue };
            for delivery in fetched {
                let job = delivery.payload().ready().unwrap().job;
                if ledger.lock().unwrap().acked.contains(&job) {
                    *ledger.lock().unwrap().came_again.entry(job).or_default() += 1;
                }
                if delivery.ack().await.is_ok() {
                    ledger.lock().unwrap().acked.insert(job);
                }
            }
        }
        let _ = tokio::time::timeout(Duration::from_millis(100), broker.ready(&Lane::ALL)).await;
    }
}

/// Everything that was published and confirmed arrives. What came again after its ack are acks that the
/// killed server had not worked off, or not written yet: the store's fence is for those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_under_load() {
    let options = Options { ack_wait: Duration::from_secs(3), ..options() };
    let (mut server, broker) = start(options).await;
    let broker = Arc::new(broker);
    let (ledger, is_over): (Arc<Mutex<Ledger>>, Arc<AtomicBool>) = Default::default();
    let consumers: Vec<_> =
        (0..2).map(|_| tokio::spawn(consume(broker.clone(), ledger.clone(), is_over.clone()))).collect();
    let (published, mut progress) = watch::channel(0);
    let producer = tokio::spawn({
        let broker = broker.clone();
        async move {
            let mut confirmed = HashSet::new();
            for n in 0..BATCHES {
                let batch: Vec<_> = (0..BATCH).map(|_| message(Lane::ALL[n % 4])).collect();
                publish_at_last(&broker, &batch).await;
                confirmed.extend(batch.iter().map(|message| message.job));
                published.send_replace(n + 1);
            }
            confirmed
        }
    });
    for quarter in 1..4 {
        // In the middle of the load, however fast that goes.
        progress.wait_for(|batches| *batches >= quarter * BATCHES / 4).await.unwrap();
        server.kill();
        server.restart().unwrap();
    }
    let confirmed = producer.await.unwrap();
    eventually("all that is confirmed is acked", async || confirmed.is_subset(&ledger.lock().unwrap().acked))
        .await;
    eventually("the lanes are empty", async || broker.depths().await.ok() == Some([Depth::default(); 4]))
        .await;
    is_over.store(true, Ordering::Relaxed);
    for consumer in consumers {
        consumer.await.unwrap();
    }
    let again = ledger.lock().unwrap().came_again.len();
    println!("{} of {} messages came again after their ack", again, confirmed.len());
    assert!(again < confirmed.len() / 4, "{again} acks were lost");
}

/// A server that ends in order keeps every ack that it has worked off.
#[tokio::test]
async fn a_stopped_server_keeps_acks() {
    let (mut server, broker) = start(Options { ack_wait: Duration::from_secs(2), ..options() }).await;
    let sent: Vec<_> = (0..100).map(|_| message(Lane::Normal)).collect();
    broker.publish(&sent).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 100 {
        held.extend(broker.fetch(Lane::Normal, 100 - held.len()).await.unwrap());
    }
    let open: HashSet<JobId> =
        held.split_off(50).iter().map(|delivery| delivery.payload().ready().unwrap().job).collect();
    for delivery in held {
        delivery.ack().await.unwrap();
    }
    let half = |depth: Depth| depth.ready + depth.unacked == 50;
    eventually("50 are left", async || half(broker.depths().await.unwrap()[Lane::Normal.index()])).await;
    server.stop().unwrap();
    server.restart().unwrap();
    let mut again = HashSet::new();
    while again.len() < 50 {
        let delivery = next(&broker, Lane::Normal).await;
        again.insert(delivery.payload().ready().unwrap().job);
        delivery.ack().await.unwrap();
    }
    assert_eq!(again, open);
    eventually("nothing is left", async || broker.depths().await.ok() == Some([Depth::default(); 4])).await;
}

/// A call that is under way when the server goes ends well once it is back in time.
#[tokio::test]
async fn calls_outlast_a_restart() {
    let (mut server, broker) = start(Options::default()).await;
    server.kill();
    let batch = [message(Lane::High)];
    let mut publishing = broker.publish(&batch);
    assert!(futures::poll!(&mut publishing).is_pending(), "nobody is there to confirm it");
    let start = Instant::now();
    server.restart().unwrap();
    publishing.await.unwrap();
    next(&broker, Lane::High).await.ack().await.unwrap();
    println!("work flowed {} ms after the server was started", start.elapsed().as_millis());
}

/// Nothing is opened anew: the stream is made again, the change is told, acks of before are void.
#[tokio::test]
async fn a_wiped_server_is_taken_up_again() {
    let (mut server, broker) = start(options()).await;
    let broker = Arc::new(broker);
    let before = broker.incarnation().await.unwrap();
    broker.publish(&[message(Lane::High), message(Lane::High)]).await.unwrap();
    let held = next(&broker, Lane::High).await;
    let acme = EventFilter { tenant: "acme".parse().unwrap(), job: None };
    let mut listener = broker.events(acme).await.unwrap();
    let waiter = tokio::spawn({
        let broker = broker.clone();
        async move { while broker.ready(&[Lane::Low]).await.is_err() {} }
    });
    server.wipe().unwrap();
    let sent = message(Lane::Low);
    publish_at_last(&broker, std::slice::from_ref(&sent)).await;
    tokio::time::timeout(PATIENCE, waiter).await.expect("the waiter sleeps over work").unwrap();
    let late = held.ack().await;
    assert!(
        matches!(late, Err(BrokerError::Unavailable(_))),
        "an ack of before reached the new stream: {late:?}"
    );
    let delivery = next(&broker, Lane::Low).await;
    assert_eq!(delivery.payload().ready(), Some(&sent));
    delivery.ack().await.unwrap();
    assert_ne!(broker.incarnation().await.unwrap(), before);
    eventually("nothing of before is there", async || {
        broker.depths().await.ok() == Some([Depth::default(); 4])
    })
    .await;
    let at = bul_job::Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
    let kind = EventKind::Progress { stage: "plan".into(), done: 1, total: 1 };
    let event = Event { tenant: "acme".parse().unwrap(), job: JobId::new(), at, kind };
    broker.publish_event(event.clone()).await.unwrap();
    assert_eq!(
        tokio::time::timeout(PATIENCE, listener.next()).await.expect("the listener is deaf"),
        Some(event)
    );
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// What a power cut does: the server comes back with what it had synced. The stream's time of creation
/// is the same, and the places of the lost messages are given to others.
#[tokio::test]
async fn a_lost_end_is_noticed() {
    let (mut server, broker) = start(options()).await;
    let early: Vec<_> = (0..10).map(|_| message(Lane::High)).collect();
    broker.publish(&early).await.unwrap();
    server.stop().unwrap();
    let saved = server.store().with_extension("saved");
    copy(&server.store(), &saved);
    server.restart().unwrap();
    let lost: Vec<_> = (0..10).map(|_| message(Lane::Low)).collect();
    publish_at_last(&broker, &lost).await;
    let before = broker.incarnation().await.unwrap();
    let held = next(&broker, Lane::Low).await;
    server.kill();
    std::fs::remove_dir_all(server.store()).unwrap();
    copy(&saved, &server.store());
    server.restart().unwrap();
    let anew = message(Lane::Low);
    publish_at_last(&broker, std::slice::from_ref(&anew)).await;
    let now = broker.incarnation().await.unwrap();
    assert!(now != before && now.contains("lost after 10"), "{before} {now}");
    assert_eq!(broker.incarnation().await.unwrap(), now);
    assert!(held.ack().await.is_err(), "an ack of before reached the message in the same place");
    assert_eq!(next(&broker, Lane::Low).await.payload().ready(), Some(&anew));
}

/// The server lives on, and an operator has removed the stream.
#[tokio::test]
async fn a_removed_stream_is_made_again() {
    let (server, broker) = start(options()).await;
    for lane in [Lane::High, Lane::Low] {
        let before = broker.incarnation().await.unwrap();
        ask(&server, "STREAM.DELETE.BUL_JOBS", Value::Null).await;
        if lane == Lane::High {
            publish_at_last(&broker, &[message(lane)]).await;
        } else {
            // Refused while the old stream's files go, then empty.
            let mut fetched = None;
            eventually("the lane answers", async || {
                fetched = broker.fetch(lane, 1).await.ok();
                fetched.is_some()
            })
            .await;
            assert!(fetched.is_some_and(|fetched| fetched.is_empty()));
            publish_at_last(&broker, &[message(lane)]).await;
        }
        next(&broker, lane).await.ack().await.unwrap();
        assert_ne!(broker.incarnation().await.unwrap(), before);
    }
}

/// Somebody waits for work while the stream goes and comes.
#[tokio::test]
async fn a_waiter_outlasts_a_removed_stream() {
    let (server, broker) = start(options()).await;
    // Told of the loss, a worker waits again.
    let waiter = eventually("there is work", async || broker.ready(&Lane::ALL).await.is_ok());
    let operator = async {
        let consumer = async || ask(&server, "CONSUMER.INFO.BUL_JOBS.bul-normal", Value::Null).await;
        let is_waited_for = async || consumer().await["num_waiting"].as_u64() > Some(0);
        eventually("a pull lies at the server", is_waited_for).await;
        ask(&server, "STREAM.DELETE.BUL_JOBS", Value::Null).await;
        publish_at_last(&broker, &[message(Lane::Normal)]).await;
    };
    let both = async { tokio::join!(waiter, operator) };
    tokio::time::timeout(PATIENCE, both).await.expect("the waiter sleeps over work");
}

async fn is_unavailable<T>(what: &str, call: impl Future<Output = Result<T, BrokerError>>) {
    let start = Instant::now();
    let result = tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| panic!("{what} hangs"));
    assert!(matches!(result, Err(BrokerError::Unavailable(_))), "{what} of a frozen server");
    let limit = REQUEST_TIMEOUT * 2 + Duration::from_secs(1);
    assert!(start.elapsed() < limit, "{what} took {} ms", start.elapsed().as_millis());
}

/// Its connection stays and nothing is answered: every call ends in time, and all is well at the thaw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_told_and_heals() {
    let (server, broker) = start(options()).await;
    let broker = Arc::new(broker);
    let kept = message(Lane::High);
    broker.publish(std::slice::from_ref(&kept)).await.unwrap();
    let held = next(&broker, Lane::High).await;
    server.freeze().unwrap();
    let sent = message(Lane::Normal);
    is_unavailable("publish", broker.publish(std::slice::from_ref(&sent))).await;
    is_unavailable("fetch", broker.fetch(Lane::Normal, 5)).await;
    is_unavailable("ready", broker.ready(&Lane::ALL)).await;
    is_unavailable("depths", broker.depths()).await;
    is_unavailable("incarnation", broker.incarnation()).await;
    is_unavailable("extend", held.extend()).await;
    is_unavailable("check", broker.check()).await;
    let at = bul_job::Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
    let kind = EventKind::Progress { stage: "plan".into(), done: 1, total: 1 };
    let event = Event { tenant: "acme".parse().unwrap(), job: JobId::new(), at, kind };
    let start = Instant::now();
    for _ in 0..10_000 {
        broker.publish_event(event.clone()).await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(5), "a frozen server holds up who publishes events");
    server.thaw().unwrap();
    publish_at_last(&broker, std::slice::from_ref(&sent)).await;
    let delivery = next(&broker, Lane::Normal).await;
    assert_eq!(
        (delivery.payload().ready(), delivery.deliveries()),
        (Some(&sent), 1),
        "repeated, it comes once"
    );
    delivery.ack().await.unwrap();
    held.ack().await.unwrap();
    broker.check().await.unwrap();
    eventually("the lanes are empty", async || broker.depths().await.ok() == Some([Depth::default(); 4]))
        .await;
}

/// A thaw after fetches in vain: what they asked for is not lost in this process.
#[tokio::test]
async fn fetches_of_a_frozen_server_lose_nothing() {
    let (server, broker) = start(options()).await;
    let sent: Vec<_> = (0..200).map(|_| message(Lane::Normal)).collect();
    broker.publish(&sent).await.unwrap();
    server.freeze().unwrap();
    for _ in 0..3 {
        is_unavailable("fetch", broker.fetch(Lane::Normal, 50)).await;
    }
    server.thaw().unwrap();
    let start = Instant::now();
    let mut seen = HashSet::new();
    while seen.len() < sent.len() {
        let delivery = next(&broker, Lane::Normal).await;
        seen.insert(delivery.payload().ready().unwrap().job);
        delivery.ack().await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(15), "messages waited for their ack wait");
}
