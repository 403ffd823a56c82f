//! What the server refuses, closes or takes away, on one node with a virtual host for each case.

mod kit;

use std::time::{Duration, Instant};

use bul_broker::{Broker, BrokerError};
use bul_broker_rabbitmq::{HOARD_MAX, OpenError, Options, RabbitBroker};
use bul_harness::RabbitMq;
use bul_job::Lane;

use kit::*;

on_both_releases!(what_the_server_refuses_closes_or_takes_away);

fn vhost_of(url: &str) -> &str {
    url.rsplit_once('/').expect("an address with a virtual host").1
}

/// One after another: a node takes seconds to start.
async fn what_the_server_refuses_closes_or_takes_away(server: RabbitMq) {
    refusals_are_told_without_the_password(&server).await;
    the_address_that_answers_is_used(&server).await;
    deleted_queues_are_made_again(&server).await;
    a_full_queue_is_back_pressure(&server).await;
    an_alarm_stops_publications_and_nothing_else(&server).await;
    a_message_returned_often_is_not_dropped(&server).await;
    a_busy_worker_hides_no_work(&server).await;
    a_worker_that_goes_leaves_its_work(&server).await;
    a_user_without_rights_to_configure_works_on_what_is_there(&server).await;
    a_consumer_timeout_of_the_server_is_survived(&server).await;
}

async fn refusals_are_told_without_the_password(server: &RabbitMq) {
    let refused = async |url: String| match RabbitBroker::open(&url, options()).await {
        Ok(_) => panic!("{url} opens"),
        Err(error) => {
            assert!(!error.to_string().contains("s3cret"), "{error}");
            error
        }
    };
    let port = server.port();
    let error = refused(format!("amqp://guest:s3cret@127.0.0.1:{port}/")).await;
    assert!(matches!(&error, OpenError::Refused { user, .. } if user == "guest"), "{error}");
    println!("{error}");
    let error = refused(format!("amqp://guest:guest@127.0.0.1:{port}/nowhere")).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
    println!("{error}");
    let start = Instant::now();
    let error = refused(format!("amqp://guest:s3cret@127.0.0.1:{}/", bul_harness::free_port())).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    println!("{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    let [first, second] = [bul_harness::free_port(), bul_harness::free_port()]
        .map(|port| format!("amqp://guest:s3cret@127.0.0.1:{port}/"));
    let error = refused(format!("{first},{second}")).await.to_string();
    assert_eq!(error.matches("amqp://127.0.0.1:").count(), 2, "each says why: {error}");
    let error = refused("amqp:s3cret".into()).await;
    assert!(matches!(error, OpenError::Address(_)), "{error}");
}

async fn the_address_that_answers_is_used(server: &RabbitMq) {
    let nobody = format!("amqp://guest:guest@127.0.0.1:{}/", bul_harness::free_port());
    let broker = open(&format!("{nobody},{}", server.new_vhost().expect("a virtual host"))).await;
    publish(&broker, &messages(Lane::High, 1)).await;
    assert_eq!(drain(&broker, Lane::High, 1).await.len(), 1);
    assert_eq!(broker.info().location.split(',').count(), 2, "{}", broker.info().location);
    broker.close().await;
}

async fn deleted_queues_are_made_again(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    let broker = open(&url).await;
    let incarnation = broker.incarnation().await.expect("an id");
    assert!(broker.fetch(Lane::High, 1).await.expect("fetch").is_empty(), "its consumer runs from now on");
    let lost = messages(Lane::High, 3);
    publish(&broker, &lost).await;
    server.ctl(&["-p", vhost_of(&url), "delete_queue", "bul.jobs.high"]).expect("deleted");
    server.ctl(&["-p", vhost_of(&url), "delete_queue", "bul.jobs.low"]).expect("deleted");
    // Nobody consumes the low lane: only a publication shows that its queue is gone.
    let low = messages(Lane::Low, 2);
    let mut tries = 0;
    eventually("it is confirmed", async || {
        tries += 1;
        match broker.publish(&low).await {
            Ok(()) => true,
            Err(BrokerError::Unavailable(reason)) => {
                assert!(tries > 1 || reason.contains("low.acme"), "{reason}");
                false
            }
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    assert_eq!(drain(&broker, Lane::Low, 2).await.len(), 2);
    eventually("the loss shows", async || broker.incarnation().await.is_ok_and(|id| id != incarnation)).await;
    publish(&broker, &lost).await;
    assert_eq!(drain(&broker, Lane::High, 3).await.len(), 3, "the same publications, on a new queue");
    broker.close().await;
}

async fn a_full_queue_is_back_pressure(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    let broker = open(&url).await;
    let limit = r#"{"max-length": 5}"#;
    server
        .ctl(&["-p", vhost_of(&url), "set_policy", "few", "jobs.normal", limit, "--apply-to", "queues"])
        .expect("a policy");
    // A policy reaches its queues a moment later.
    let policies = ["-p", vhost_of(&url), "-q", "list_queues", "name", "policy"];
    eventually("the policy is in force", async || {
        let queues = server.ctl(&policies).expect("a list");
        queues.lines().any(|line| line.contains("normal") && line.contains("few"))
    })
    .await;
    // A queue counts what it holds a moment later, so the first batches may all be taken.
    let mut all = 0;
    let mut batch = Vec::new();
    eventually("it is full", async || {
        batch = messages(Lane::Normal, 40);
        all += batch.len();
        let published = broker.publish(&batch).await;
        assert!(matches!(published, Ok(()) | Err(BrokerError::Full(_))), "{published:?}");
        published.is_err()
    })
    .await;
    publish(&broker, &messages(Lane::High, 1)).await;
    // The dispatcher tries again with the same rows until all are out.
    let consumer = open(&url).await;
    let consuming = tokio::spawn(async move { drain(&consumer, Lane::Normal, all).await });
    publish(&broker, &batch).await;
    let mut jobs = consuming.await.expect("all arrive");
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), all, "none twice either: what was confirmed is not sent again");
    broker.close().await;
}

async fn an_alarm_stops_publications_and_nothing_else(server: &RabbitMq) {
    let broker = open(&server.new_vhost().expect("a virtual host")).await;
    publish(&broker, &messages(Lane::Normal, 3)).await;
    server.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).expect("an alarm");
    eventually("publications are refused", async || {
        matches!(broker.publish(&messages(Lane::Low, 1)).await, Err(BrokerError::Full(_)))
    })
    .await;
    assert!(matches!(broker.check().await, Err(BrokerError::Full(_))));
    assert_eq!(drain(&broker, Lane::Normal, 3).await.len(), 3, "work is taken and acked all the same");
    server.ctl(&["set_vm_memory_high_watermark", "0.6"]).expect("no alarm");
    publish(&broker, &messages(Lane::Normal, 1)).await;
    assert_eq!(drain(&broker, Lane::Normal, 1).await.len(), 1);
    broker.close().await;
}

/// RabbitMQ 4 drops a message after 20 deliveries unless told otherwise.
async fn a_message_returned_often_is_not_dropped(server: &RabbitMq) {
    let broker = open(&server.new_vhost().expect("a virtual host")).await;
    let sent = messages(Lane::High, 1);
    publish(&broker, &sent).await;
    for _ in 0..30 {
        next(&broker, Lane::High).await.nack(Duration::ZERO).await.expect("returned");
    }
    assert_eq!(drain(&broker, Lane::High, 1).await, [sent[0].job]);
    broker.close().await;
}

async fn a_busy_worker_hides_no_work(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    let (busy, idle) = (open(&url).await, open(&url).await);
    assert!(busy.fetch(Lane::Normal, 1).await.expect("fetch").is_empty());
    publish(&busy, &messages(Lane::Normal, 100)).await;
    let held = next(&busy, Lane::Normal).await;
    let start = Instant::now();
    drain(&idle, Lane::Normal, 99).await;
    println!("99 messages came to the idle one after {} ms", start.elapsed().as_millis());
    assert!(start.elapsed() < HOARD_MAX * 4, "{:?}", start.elapsed());
    held.ack().await.expect("what it has begun it keeps");
    eventually("all done", async || idle.depths().await.is_ok_and(|all| all[2].ready == 0)).await;
    // It goes on where it was.
    publish(&busy, &messages(Lane::Normal, 1)).await;
    drop(next(&busy, Lane::Normal).await);
    busy.close().await;
    idle.close().await;
}

async fn a_worker_that_goes_leaves_its_work(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    let (going, staying) = (open(&url).await, open(&url).await);
    publish(&going, &messages(Lane::Critical, 20)).await;
    let held = next(&going, Lane::Critical).await;
    // No close: as a process that ends.
    drop(going);
    let start = Instant::now();
    drain(&staying, Lane::Critical, 20).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(held.ack().await.is_err());
    staying.close().await;
}

async fn a_user_without_rights_to_configure_works_on_what_is_there(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    server.ctl(&["add_user", "plain", "word"]).expect("a user");
    let plain = url.replace("guest:guest", "plain:word");
    server.ctl(&["-p", vhost_of(&url), "set_permissions", "plain", "^$", "^bul", "^bul"]).expect("rights");
    let refused = RabbitBroker::open(&plain, options()).await;
    assert!(matches!(refused, Err(OpenError::Topology { .. })), "nothing is there and nothing can be made");
    open(&url).await.close().await;
    let broker = open(&plain).await;
    publish(&broker, &messages(Lane::High, 2)).await;
    assert_eq!(drain(&broker, Lane::High, 2).await.len(), 2);
    broker.close().await;
}

async fn a_consumer_timeout_of_the_server_is_survived(server: &RabbitMq) {
    let set = |key: &str, milliseconds: u32| format!("application:set_env(rabbit, {key}, {milliseconds}).");
    server
        .ctl(&[
            "eval",
            &(set("consumer_timeout", 2_000).replace(").", "), ") + &set("channel_tick_interval", 500)),
        ])
        .expect("set");
    let url = server.new_vhost().expect("a virtual host");
    let patient = Options { ack_wait: PATIENCE, ..options() };
    let broker = RabbitBroker::open(&url, patient).await.expect("the server is there");
    let sent = messages(Lane::Normal, 3);
    publish(&broker, &sent).await;
    let slow = next(&broker, Lane::Normal).await;
    eventually("the server takes it away", async || slow.extend().await.is_err()).await;
    assert!(slow.ack().await.is_err());
    let mut jobs = drain(&broker, Lane::Normal, 3).await;
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 3, "all came back, and the lane's consumer runs again");
    // Held no longer than it may be, a message goes back alone.
    let careful = Options { ack_wait: PATIENCE, hold_max: Duration::from_millis(700), ..options() };
    let careful =
        RabbitBroker::open(&server.new_vhost().expect("a virtual host"), careful).await.expect("open");
    publish(&careful, &sent[..2]).await;
    let (slow, other) = (next(&careful, Lane::Normal).await, next(&careful, Lane::Normal).await);
    eventually("it is taken away", async || slow.extend().await.is_err()).await;
    let again = next(&careful, Lane::Normal).await;
    assert_eq!(again.deliveries(), 2);
    drop((other, again));
    broker.close().await;
    careful.close().await;
}
