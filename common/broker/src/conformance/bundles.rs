//! Cases about messages that name several jobs. A broker that has none, since a message costs it next to nothing, skips them.

use std::collections::HashMap;
use std::time::Duration;

use bul_job::Lane;

use super::Fixture;
use super::kit::*;
use crate::{Delivery, Depth, Message, Payload, unpack};

fn of(owner: &str, lane: Lane, count: usize) -> Vec<Message> {
    (0..count).map(|_| message_of(owner, lane)).collect()
}

fn messages_of(delivery: &dyn Delivery) -> Vec<Message> {
    match delivery.payload() {
        Payload::Ready(message) => vec![message.clone()],
        Payload::Bundle(messages) => messages.clone(),
        Payload::Foreign(foreign) => panic!("{foreign:?} is none of ours"),
    }
}

/// In few messages, none of which mixes tenants or lanes; a few jobs go singly.
pub async fn many_go_in_bundles_and_come_once_each(fixture: Box<dyn Fixture>) {
    if !fixture.makes_bundles() {
        return;
    }
    let broker = fixture.broker();
    let sent = [
        of("acme", Lane::High, 5 * BUNDLE_MAX + 3),
        of("globex", Lane::High, 2 * BUNDLE_MAX),
        of("initech", Lane::High, BUNDLE_MAX / 2 - 1),
        of("acme", Lane::Low, 2 * BUNDLE_MAX),
    ]
    .concat();
    broker.publish(&sent).await.unwrap();
    // The same again, as a dispatcher does whose answer was lost.
    broker.publish(&sent).await.unwrap();
    let singles = BUNDLE_MAX as u64 / 2 - 1;
    let mut expected = [Depth::default(); 4];
    expected[Lane::High.index()].ready = 6 + 2 + singles;
    expected[Lane::Low.index()].ready = 2;
    depths_become(&broker, expected).await;
    let mut seen = HashMap::new();
    for (lane, messages) in [(Lane::High, 6 + 2 + singles), (Lane::Low, 2)] {
        for _ in 0..messages {
            let delivery = next(&broker, lane).await;
            let held = messages_of(delivery.as_ref());
            assert!(held.len() <= BUNDLE_MAX && held.iter().all(|message| message.lane == lane));
            assert!(held.iter().all(|message| message.tenant == held[0].tenant), "{held:?}");
            for part in unpack(delivery) {
                *seen.entry(part.payload().ready().expect("ours").job).or_insert(0) += 1;
                part.ack().await.unwrap();
            }
        }
    }
    assert_eq!(seen.len(), sent.len());
    assert!(sent.iter().all(|message| seen[&message.job] == 1));
    depths_become(&broker, [Depth::default(); 4]).await;
}

/// To whoever asks next; what was acknowledged by then comes along, and what runs goes on.
pub async fn a_bundle_returns_whole_when_a_part_does(fixture: Box<dyn Fixture>) {
    if !fixture.makes_bundles() {
        return;
    }
    let broker = fixture.broker();
    for is_dropped in [true, false] {
        broker.publish(&of("acme", Lane::Normal, 2 * BUNDLE_MAX)).await.unwrap();
        let first = next(&broker, Lane::Normal).await;
        let held = messages_of(first.as_ref());
        let mut parts = unpack(first);
        parts.remove(0).ack().await.unwrap();
        let running = parts.remove(0);
        if is_dropped {
            drop(parts.remove(0));
        } else {
            parts.remove(0).nack(Duration::ZERO).await.unwrap();
        }
        let mut came = HashMap::new();
        for _ in 0..2 {
            let delivery = next(&broker, Lane::Normal).await;
            let times = delivery.deliveries();
            came.extend(messages_of(delivery.as_ref()).iter().map(|message| (message.job, times)));
            running.extend().await.unwrap();
            for part in unpack(delivery) {
                part.ack().await.unwrap();
            }
        }
        assert_eq!(came.len(), 2 * BUNDLE_MAX);
        for (job, times) in came {
            assert_eq!(times, if held.iter().any(|message| message.job == job) { 2 } else { 1 });
        }
        running.ack().await.unwrap();
        drop(parts);
        depths_become(&broker, [Depth::default(); 4]).await;
    }
}

/// Singly, although this process has published them, and only those; what is left of the bundle is done with.
pub async fn parts_of_a_bundle_can_be_handed_on(fixture: Box<dyn Fixture>) {
    if !fixture.makes_bundles() {
        return;
    }
    let broker = fixture.broker();
    broker.publish(&of("acme", Lane::High, 2 * BUNDLE_MAX)).await.unwrap();
    assert!(broker.waits(Lane::High).await.unwrap() && !broker.waits(Lane::Low).await.unwrap());
    let first = next(&broker, Lane::High).await;
    eventually("the second waits", async || broker.waits(Lane::High).await.unwrap()).await;
    next(&broker, Lane::High).await.ack().await.unwrap();
    let mut parts = unpack(first);
    eventually("nothing waits", async || !broker.waits(Lane::High).await.unwrap()).await;
    assert!(parts.iter().all(|part| part.is_part()));
    let running = parts.remove(0);
    let handed: Vec<Message> = parts.iter().map(|part| part.payload().ready().unwrap().clone()).collect();
    broker.publish_apart(&handed).await.unwrap();
    for part in parts {
        part.ack().await.unwrap();
    }
    running.ack().await.unwrap();
    for expected in &handed {
        let delivery = next(&broker, Lane::High).await;
        assert_eq!((delivery.payload().ready(), delivery.is_part()), (Some(expected), false));
        delivery.ack().await.unwrap();
    }
    depths_become(&broker, [Depth::default(); 4]).await;
}
