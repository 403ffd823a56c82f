//! Cases about partitions: what lies where, its order, and several who take from each other.
//!
//! A broker that leaves its lanes undivided skips them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bul_job::{JobId, Lane, Partition, PublishNo, Queue};

use super::Fixture;
use super::kit::*;
use crate::{Broker, Delivery, Depth, Message};

/// Messages of the case with several consumers.
const MESSAGES: usize = 2_000;

/// The broker, if its lanes are divided.
fn divided(fixture: &dyn Fixture) -> Option<Arc<dyn Broker>> {
    let broker = fixture.broker();
    match broker.partitions() {
        1 => None,
        partitions => {
            assert_eq!(partitions, PARTITIONS, "it has other partitions than it was told");
            Some(broker)
        }
    }
}

/// A new message of acme in a partition.
fn message_in(lane: Lane, partition: Partition) -> Message {
    loop {
        let message = message(lane);
        if message.partition(PARTITIONS) == partition {
            return message;
        }
    }
}

fn partitions() -> Vec<Partition> {
    Partition::all(PARTITIONS).collect()
}

fn jobs(taken: &[Box<dyn Delivery>]) -> Vec<JobId> {
    taken.iter().map(|delivery| delivery.payload().ready().expect("ours").job).collect()
}

/// Fetches until there are as many as expected.
async fn all_of(broker: &Arc<dyn Broker>, queues: &[Queue], expected: usize) -> Vec<Box<dyn Delivery>> {
    let wait = async {
        let mut taken = Vec::new();
        loop {
            taken.extend(broker.fetch_from(queues, expected - taken.len()).await.expect("fetch"));
            if taken.len() == expected {
                return taken;
            }
            broker.ready_in(queues).await.expect("ready");
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("messages were expected and did not come")
}

/// And in no other; the lane as a whole has all of them.
pub async fn a_message_lies_in_the_partition_of_its_group(fixture: Box<dyn Fixture>) {
    let Some(broker) = divided(fixture.as_ref()) else { return };
    let sent: Vec<Message> = partitions().into_iter().map(|p| message_in(Lane::High, p)).collect();
    broker.publish(&sent).await.unwrap();
    for (message, partition) in sent.iter().zip(partitions()).skip(1) {
        let queue = Queue { lane: Lane::High, partition };
        let taken = all_of(&broker, &[queue], 1).await;
        assert_eq!(taken[0].payload().ready(), Some(message));
        assert!(broker.fetch_from(&[queue], 9).await.unwrap().is_empty());
        for delivery in taken {
            delivery.ack().await.unwrap();
        }
    }
    let beyond = Partition::new(PARTITIONS).unwrap();
    let nowhere = [Queue { lane: Lane::High, partition: beyond }];
    assert!(broker.fetch_from(&nowhere, 9).await.unwrap().is_empty());
    assert_eq!(next(&broker, Lane::High).await.payload().ready(), Some(&sent[0]));
}

/// First in, first out.
pub async fn a_partition_keeps_its_order(fixture: Box<dyn Fixture>) {
    let Some(broker) = divided(fixture.as_ref()) else { return };
    let sent: Vec<Message> =
        (0..40).map(|n| message_in(Lane::Normal, partitions()[n % partitions().len()])).collect();
    broker.publish(&sent).await.unwrap();
    for partition in partitions() {
        let expected: Vec<JobId> =
            sent.iter().filter(|m| m.partition(PARTITIONS) == partition).map(|m| m.job).collect();
        let taken = all_of(&broker, &[Queue { lane: Lane::Normal, partition }], expected.len()).await;
        assert_eq!(jobs(&taken), expected);
    }
}

/// No queue is left out while another is full, and an empty one gives its share away.
pub async fn a_fetch_takes_from_each_partition_and_fills_up(fixture: Box<dyn Fixture>) {
    let Some(broker) = divided(fixture.as_ref()) else { return };
    let (full, few) = (Partition::FIRST, partitions()[2]);
    let mut sent: Vec<Message> = (0..20).map(|_| message_in(Lane::Low, full)).collect();
    sent.extend((0..2).map(|_| message_in(Lane::Low, few)));
    broker.publish(&sent).await.unwrap();
    depths_become(&broker, {
        let mut depths = [Depth::default(); 4];
        depths[Lane::Low.index()].ready = 22;
        depths
    })
    .await;
    let queues: Vec<Queue> = Queue::of(Lane::Low, PARTITIONS).collect();
    let taken = all_of(&broker, &queues, 12).await;
    let of_few = taken.iter().filter(|d| d.payload().ready().unwrap().partition(PARTITIONS) == few).count();
    assert_eq!(of_few, 2);
    let rest = all_of(&broker, &queues, 10).await;
    let all: HashSet<JobId> = jobs(&taken).into_iter().chain(jobs(&rest)).collect();
    assert_eq!(all, sent.iter().map(|m| m.job).collect());
}

/// And what comes to another's is still there afterwards.
pub async fn a_waiter_hears_of_its_own_partitions(fixture: Box<dyn Fixture>) {
    let Some(broker) = divided(fixture.as_ref()) else { return };
    let (mine, other) = (partitions()[1], partitions()[3]);
    let queue = |partition| Queue { lane: Lane::Critical, partition };
    let waiter = {
        let (broker, queues) = (Arc::clone(&broker), [queue(mine)]);
        tokio::spawn(async move { all_of(&broker, &queues, 1).await })
    };
    tokio::task::yield_now().await;
    let foreign = message_in(Lane::Critical, other);
    broker.publish(std::slice::from_ref(&foreign)).await.unwrap();
    let own = message_in(Lane::Critical, mine);
    broker.publish(std::slice::from_ref(&own)).await.unwrap();
    assert_eq!(jobs(&waiter.await.unwrap()), [own.job]);
    assert_eq!(jobs(&all_of(&broker, &[queue(other)], 1).await), [foreign.job]);
}

/// Whoever gave them back, and however.
pub async fn returned_messages_stay_in_their_partition(fixture: Box<dyn Fixture>) {
    let Some(broker) = divided(fixture.as_ref()) else { return };
    let partition = partitions()[3];
    let queues = [Queue { lane: Lane::High, partition }];
    let sent = Message { publish: PublishNo(3), ..message_in(Lane::High, partition) };
    broker.publish(std::slice::from_ref(&sent)).await.unwrap();
    let first = all_of(&broker, &queues, 1).await.remove(0);
    first.nack(std::time::Duration::ZERO).await.unwrap();
    drop(all_of(&broker, &queues, 1).await);
    let last = all_of(&broker, &queues, 1).await.remove(0);
    assert_eq!((last.payload().ready(), last.deliveries()), (Some(&sent), 3));
    last.ack().await.unwrap();
    depths_become(&broker, [Depth::default(); 4]).await;
}

/// Four consumers with a partition of their own, each of whom takes from the others what it can get: every message is done once.
pub async fn nothing_is_lost_between_owners_of_partitions_and_thieves(fixture: Box<dyn Fixture>) {
    let Some(broker) = divided(fixture.as_ref()) else { return };
    let done: Arc<Mutex<Vec<JobId>>> = Arc::default();
    let consumers: Vec<_> = partitions()
        .into_iter()
        .map(|own| {
            let (broker, done) = (Arc::clone(&broker), Arc::clone(&done));
            tokio::spawn(async move { consume(&broker, own, &done).await })
        })
        .collect();
    let mut sent = HashSet::new();
    for _ in 0..MESSAGES / 20 {
        let batch: Vec<Message> = (0..20).map(|n| message(Lane::ALL[n % 4])).collect();
        broker.publish(&batch).await.unwrap();
        sent.extend(batch.iter().map(|message| message.job));
        tokio::task::yield_now().await;
    }
    for consumer in consumers {
        tokio::time::timeout(PATIENCE, consumer).await.expect("a consumer sleeps over work").unwrap();
    }
    let done = std::mem::take(&mut *done.lock().unwrap());
    assert_eq!(done.len(), MESSAGES, "a message was done twice");
    assert_eq!(done.into_iter().collect::<HashSet<_>>(), sent);
    depths_become(&broker, [Depth::default(); 4]).await;
}

async fn consume(broker: &Arc<dyn Broker>, own: Partition, done: &Mutex<Vec<JobId>>) {
    let is_done = || done.lock().unwrap().len() >= MESSAGES;
    let others: Vec<Partition> = partitions().into_iter().filter(|partition| *partition != own).collect();
    while !is_done() {
        for lane in Lane::ALL {
            let mut taken = broker.fetch_from(&[Queue { lane, partition: own }], 5).await.expect("its own");
            for partition in &others {
                let queue = Queue { lane, partition: *partition };
                taken.extend(broker.help_from(&[queue], 1).await.expect("others'"));
            }
            for delivery in taken {
                let job = delivery.payload().ready().expect("ours").job;
                delivery.ack().await.unwrap();
                done.lock().unwrap().push(job);
            }
        }
        tokio::task::yield_now().await;
    }
}
