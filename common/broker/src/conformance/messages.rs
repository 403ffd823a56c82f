//! Cases about single messages: handed out, answered, returned.

use std::time::Duration;

use bul_job::{Lane, PublishNo};

use super::Fixture;
use super::kit::*;
use crate::{Depth, Message};

/// Every field survives.
pub async fn a_message_comes_back_as_it_was(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    for lane in Lane::ALL {
        let sent = Message { publish: PublishNo(7), ..message_of("globex-2", lane) };
        broker.publish(std::slice::from_ref(&sent)).await.unwrap();
        let delivery = next(&broker, lane).await;
        assert_eq!((delivery.payload().ready().unwrap(), delivery.deliveries()), (&sent, 1));
        delivery.ack().await.unwrap();
    }
    broker.publish(&[]).await.unwrap();
}

/// Also after every deadline.
pub async fn an_acked_message_is_gone(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    publish(&broker, Lane::Normal).await;
    next(&broker, Lane::Normal).await.ack().await.unwrap();
    assert!(is_empty(&broker, Lane::Normal).await);
    fixture.pass_ack_deadline().await;
    assert!(is_empty(&broker, Lane::Normal).await);
}

/// At once without a delay, and counted.
pub async fn a_nacked_message_returns(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let sent = publish(&broker, Lane::Normal).await;
    for deliveries in 1..=3 {
        let delivery = next(&broker, Lane::Normal).await;
        assert_eq!((delivery.payload().ready().unwrap(), delivery.deliveries()), (&sent, deliveries));
        delivery.nack(Duration::ZERO).await.unwrap();
    }
}

/// Not before.
pub async fn a_delayed_nack_returns_after_its_delay(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let sent = publish(&broker, Lane::Normal).await;
    next(&broker, Lane::Normal).await.nack(Duration::from_secs(1)).await.unwrap();
    assert!(is_empty(&broker, Lane::Normal).await);
    let delivery = next(&broker, Lane::Normal).await;
    assert_eq!((delivery.payload().ready().unwrap(), delivery.deliveries()), (&sent, 2));
}

/// A worker that panics holds nothing.
pub async fn a_dropped_message_returns_at_once(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let sent = publish(&broker, Lane::Normal).await;
    drop(next(&broker, Lane::Normal).await);
    assert_eq!(next(&broker, Lane::Normal).await.payload().ready().unwrap(), &sent);
}

/// A worker that hangs holds it for as long as its deadline.
pub async fn an_unanswered_message_returns_after_its_deadline(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let sent = publish(&broker, Lane::Normal).await;
    let held = next(&broker, Lane::Normal).await;
    assert!(is_empty(&broker, Lane::Normal).await);
    fixture.pass_ack_deadline().await;
    let second = next(&broker, Lane::Normal).await;
    assert_eq!((second.payload().ready().unwrap(), second.deliveries()), (&sent, 2));
    // The hanging one goes away at last; the message stays with the second.
    drop(held);
    assert!(is_empty(&broker, Lane::Normal).await);
    second.ack().await.unwrap();
    assert!(is_empty(&broker, Lane::Normal).await);
}

/// It keeps the message from others, and a worker that falls silent after it loses it all the same.
pub async fn a_sign_of_life_is_no_answer(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let sent = publish(&broker, Lane::Normal).await;
    let silent = next(&broker, Lane::Normal).await;
    for _ in 0..3 {
        silent.extend().await.unwrap();
        assert!(is_empty(&broker, Lane::Normal).await);
    }
    fixture.pass_ack_deadline().await;
    let second = next(&broker, Lane::Normal).await;
    assert_eq!(second.payload().ready().unwrap(), &sent);
    second.extend().await.unwrap();
    second.ack().await.unwrap();
}

/// Whoever got it next finds the job finished in the store; an error or not, nothing else is touched.
pub async fn a_late_ack_harms_nobody(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    publish(&broker, Lane::Normal).await;
    let late = next(&broker, Lane::Normal).await;
    fixture.pass_ack_deadline().await;
    let second = next(&broker, Lane::Normal).await;
    let other = publish(&broker, Lane::Normal).await;
    let _ = late.ack().await;
    let _ = second.ack().await;
    let delivery = next(&broker, Lane::Normal).await;
    assert_eq!(delivery.payload().ready().unwrap(), &other);
    delivery.ack().await.unwrap();
    assert!(is_empty(&broker, Lane::Normal).await);
}

/// While it waits, while it is held, and shortly after its end; another number of the job is new.
pub async fn a_second_publication_of_both_numbers_is_dropped(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let sent = publish(&broker, Lane::Normal).await;
    broker.publish(&[sent.clone(), sent.clone()]).await.unwrap();
    let delivery = next(&broker, Lane::Normal).await;
    assert!(is_empty(&broker, Lane::Normal).await);
    broker.publish(std::slice::from_ref(&sent)).await.unwrap();
    assert!(is_empty(&broker, Lane::Normal).await);
    delivery.ack().await.unwrap();
    broker.publish(std::slice::from_ref(&sent)).await.unwrap();
    assert!(is_empty(&broker, Lane::Normal).await);
    let again = Message { publish: PublishNo(2), ..sent };
    broker.publish(std::slice::from_ref(&again)).await.unwrap();
    assert_eq!(next(&broker, Lane::Normal).await.payload().ready().unwrap(), &again);
}

/// A full low lane says nothing about a critical one.
pub async fn lanes_are_apart(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    for _ in 0..5 {
        publish(&broker, Lane::Low).await;
    }
    for lane in [Lane::Critical, Lane::High, Lane::Normal] {
        assert!(is_empty(&broker, lane).await, "{lane}");
    }
    let urgent = publish(&broker, Lane::Critical).await;
    assert_eq!(next(&broker, Lane::Critical).await.payload().ready().unwrap(), &urgent);
}

/// And no less than there is.
pub async fn fetch_takes_no_more_than_asked(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    for _ in 0..5 {
        publish(&broker, Lane::Normal).await;
    }
    assert!(broker.fetch(Lane::Normal, 0).await.unwrap().is_empty());
    let mut held = vec![next(&broker, Lane::Normal).await];
    while held.len() < 5 {
        let more = broker.fetch(Lane::Normal, 3).await.unwrap();
        assert!(more.len() <= 3);
        held.extend(more);
    }
    assert!(is_empty(&broker, Lane::Normal).await);
    let mut jobs: Vec<_> = held.iter().map(|delivery| delivery.payload().ready().unwrap().job).collect();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 5);
}

/// A tenant with a hundred jobs does not make one with two wait for all of them.
pub async fn tenants_take_turns(fixture: Box<dyn Fixture>) {
    if !fixture.is_fair() {
        return;
    }
    let broker = fixture.broker();
    let mut messages: Vec<Message> = (0..100).map(|_| message_of("acme", Lane::Normal)).collect();
    messages.extend((0..2).map(|_| message_of("globex", Lane::Normal)));
    broker.publish(&messages).await.unwrap();
    let first = broker.fetch(Lane::Normal, 4).await.unwrap();
    let of_globex = first.iter().filter(|d| d.payload().ready().unwrap().tenant == tenant("globex")).count();
    assert_eq!(of_globex, 2, "one tenant's backlog blocks the other");
    let of_acme: Vec<_> = first
        .iter()
        .filter(|d| d.payload().ready().unwrap().tenant == tenant("acme"))
        .map(|d| d.payload().ready().unwrap().job)
        .collect();
    assert_eq!(of_acme, [messages[0].job, messages[1].job], "first in, first out inside a tenant");
}

/// Per lane; an ack takes away, a return does not.
pub async fn depth_counts_waiting_and_held(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    assert_eq!(broker.depths().await.unwrap(), [Depth::default(); 4]);
    for _ in 0..3 {
        publish(&broker, Lane::High).await;
    }
    publish(&broker, Lane::Low).await;
    let first = next(&broker, Lane::High).await;
    let second = next(&broker, Lane::High).await;
    let depth = |ready, unacked| Depth { ready, unacked };
    depths_become(&broker, [depth(0, 0), depth(1, 2), depth(0, 0), depth(1, 0)]).await;
    first.ack().await.unwrap();
    second.nack(Duration::ZERO).await.unwrap();
    // JetStream counts a returned message as held until it is handed out again.
    total_becomes(&broker, Lane::High, 2).await;
}
