//! Partitions on one node with a virtual host for each case: processes that want different numbers of them, helping out, and
//! queues that were deleted.

mod kit;

use std::collections::HashSet;

use bul_broker::{Broker, Depth, Message};
use bul_broker_rabbitmq::{Options, RabbitBroker};
use bul_harness::RabbitMq;
use bul_job::{JobId, Lane, Partition, Queue};

use kit::*;

const PARTITIONS: u8 = 4;

/// One after another: a node takes seconds to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_over_time() {
    let server = RabbitMq::start().expect("RabbitMQ starts");
    processes_may_want_different_numbers(&server).await;
    who_helps_takes_what_it_asks_for_and_no_more(&server).await;
    a_helper_that_goes_away_leaves_nothing_behind(&server).await;
    deleted_partitions_are_made_again(&server).await;
}

async fn divided(url: &str) -> RabbitBroker {
    let options = Options { partitions: PARTITIONS, ..options() };
    RabbitBroker::open(url, options).await.expect("the server is there")
}

fn queue(lane: Lane, number: u8) -> Queue {
    Queue { lane, partition: Partition::new(number).expect("a partition") }
}

fn message_in(queue: Queue) -> Message {
    loop {
        let message = message(queue.lane);
        if message.partition(PARTITIONS) == queue.partition {
            return message;
        }
    }
}

fn one_in_each(lane: Lane) -> Vec<Message> {
    Queue::of(lane, PARTITIONS).map(message_in).collect()
}

fn jobs(messages: &[Message]) -> HashSet<JobId> {
    messages.iter().map(|message| message.job).collect()
}

/// Until each was there; what a failed publication has left may come twice.
async fn take_all(broker: &RabbitBroker, lane: Lane, sent: &[Message]) {
    let mut left = jobs(sent);
    while !left.is_empty() {
        left.remove(&drain(broker, lane, 1).await[0]);
    }
}

async fn ready_becomes(broker: &RabbitBroker, lane: Lane, ready: u64) {
    let expected = Depth { ready, unacked: 0 };
    eventually("the lane's depth", async || broker.depths().await.unwrap()[lane.index()] == expected).await;
}

/// A process that wants one publishes to the first and serves all; one that wants more than there are adds them.
async fn processes_may_want_different_numbers(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    let undivided = open(&url).await;
    let before = one_in_each(Lane::High);
    publish(&undivided, &before).await;
    let broker = divided(&url).await;
    assert_eq!((undivided.partitions(), broker.partitions()), (1, PARTITIONS));
    let mut found = HashSet::new();
    eventually("all lie in the first", async || {
        for delivery in broker.fetch_from(&[queue(Lane::High, 0)], 9).await.unwrap() {
            found.insert(delivery.payload().ready().expect("ours").job);
            delivery.ack().await.unwrap();
        }
        found.len() == before.len()
    })
    .await;
    assert_eq!(found, jobs(&before));
    let sent = one_in_each(Lane::High);
    publish(&broker, &sent).await;
    undivided.close().await;
    broker.close().await;
    let later = open(&url).await;
    assert_eq!(later.partitions(), PARTITIONS);
    assert!(later.info().notes.iter().any(|note| note.contains("4 partitions")), "{:?}", later.info());
    take_all(&later, Lane::High, &sent).await;
    later.close().await;
}

/// The rest stays on the server, where the owner finds it.
async fn who_helps_takes_what_it_asks_for_and_no_more(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    let (owner, helper) = (divided(&url).await, divided(&url).await);
    let queue = queue(Lane::Normal, 3);
    let sent: Vec<Message> = (0..10).map(|_| message_in(queue)).collect();
    publish(&owner, &sent).await;
    ready_becomes(&owner, Lane::Normal, 10).await;
    let mut taken = helper.help_from(&[queue], 3).await.expect("help");
    assert_eq!(taken.len(), 3, "one by one, what is asked for");
    assert_eq!(helper.depths().await.unwrap()[Lane::Normal.index()], Depth { ready: 7, unacked: 3 });
    taken.pop().expect("three").nack(std::time::Duration::ZERO).await.expect("given back");
    for delivery in taken {
        delivery.ack().await.expect("done");
    }
    ready_becomes(&owner, Lane::Normal, 8).await;
    let mut left = HashSet::new();
    eventually("the owner has the rest", async || {
        for delivery in owner.fetch_from(&[queue], 9).await.unwrap() {
            left.insert(delivery.payload().ready().expect("ours").job);
            delivery.ack().await.unwrap();
        }
        left.len() == 8
    })
    .await;
    assert!(left.is_subset(&jobs(&sent)));
    assert!(helper.help_from(&[queue], 3).await.expect("help").is_empty());
    owner.close().await;
    helper.close().await;
}

/// What it had asked for goes back, or to the next who asks here.
async fn a_helper_that_goes_away_leaves_nothing_behind(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    let broker = divided(&url).await;
    let queue = queue(Lane::Low, 2);
    let sent: Vec<Message> = (0..20).map(|_| message_in(queue)).collect();
    publish(&broker, &sent).await;
    ready_becomes(&broker, Lane::Low, 20).await;
    // The channel is there; then callers who go away while they are answered.
    assert_eq!(broker.help_from(&[queue], 1).await.expect("help").len(), 1);
    let queues = [queue];
    for polls in 1..8 {
        let mut help = Box::pin(broker.help_from(&queues, 4));
        for _ in 0..polls {
            let _ = futures::poll!(&mut help);
            tokio::task::yield_now().await;
        }
    }
    ready_becomes(&broker, Lane::Low, 20).await;
    take_all(&broker, Lane::Low, &sent).await;
    broker.close().await;
}

async fn deleted_partitions_are_made_again(server: &RabbitMq) {
    let url = server.new_vhost().expect("a virtual host");
    let broker = divided(&url).await;
    let vhost = url.rsplit_once('/').expect("an address with a virtual host").1;
    let incarnation = broker.incarnation().await.expect("an id");
    for number in 1..PARTITIONS {
        server.ctl(&["-p", vhost, "delete_queue", &format!("bul.jobs.low.{number}")]).expect("deleted");
    }
    let sent = one_in_each(Lane::Low);
    publish(&broker, &sent).await;
    assert_ne!(broker.incarnation().await.expect("an id"), incarnation, "what lay there is published again");
    take_all(&broker, Lane::Low, &sent).await;
    broker.close().await;
}
