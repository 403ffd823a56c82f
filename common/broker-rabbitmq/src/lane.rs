//! The consumer of one lane: a channel of its own, messages into the buffer, and its end.
//!
//! Invariant: when a channel is gone, nothing of its lane is left in this process, since the server has
//! requeued it all. It runs for ever: consumers that silently stop are the commonest complaint about
//! others. One task per lane, started by `lib`.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bul_broker::BrokerError;
use bul_job::Lane;
use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::Shared;
use crate::acks::Acks;
use crate::delivery::{Answer, requeue};
use crate::held::Arrival;
use crate::message::decode;
use crate::options::{HOARD_MAX, RETRY_MAX, RETRY_MIN};
use crate::topology::{TopologyError, within};

/// Messages taken into the buffer under one lock.
const GULP_MAX: usize = 256;
/// How often it is looked whether anybody wants the messages, and whether the channel lives.
const LOOK: Duration = Duration::from_millis(250);
/// A consumer that ran this long was well: the next failure is retried at once.
const WELL_AFTER: Duration = Duration::from_secs(5);

/// Why a consumer stops on purpose.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// Nobody has asked for [`HOARD_MAX`].
    Idle,
    /// There are messages on the server, and none comes.
    Stuck,
}

/// Runs the lane's consumer whenever it is wanted, for ever.
pub(crate) async fn run(shared: &Arc<Shared>, lane: Lane) {
    let demand = shared.demand(lane);
    let mut pauses = pauses();
    loop {
        demand.until_wanted().await;
        let start = Instant::now();
        let error = consume(shared, lane).await;
        demand.set_active(false);
        demand.set_reason(error.to_string());
        shared.held.lock().forget(lane);
        shared.changed.notify_waiters();
        if shared.consuming.is_up() {
            // The line tells of its own losses; this is the lane's alone.
            warn!(broker.lane = %lane, %error, "the lane's consumer is built again");
            shared.mend().await;
        }
        if start.elapsed() > WELL_AFTER {
            pauses = self::pauses();
        }
        tokio::time::sleep(pauses.next().unwrap_or(RETRY_MAX)).await;
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(RETRY_MIN)
        .with_max_delay(RETRY_MAX)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Consumes on one channel until something fails.
async fn consume(shared: &Arc<Shared>, lane: Lane) -> BrokerError {
    let failed = |error: TopologyError| BrokerError::Unavailable(format!("lane {lane}: {error}"));
    let opened = async {
        let connection = shared.consuming.get().await?;
        let channel = open(shared, &connection).await.map_err(failed)?;
        Ok::<_, BrokerError>((connection, Arc::new(Acks::new(channel, shared.options.call_timeout))))
    };
    let (connection, acks) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    *shared.acks[lane.index()].lock() = Some(Arc::clone(&acks));
    tokio::select! {
        error = turns(shared, lane, &connection, &acks) => error,
        error = acks.run() => error,
    }
}

/// One consumer after the other on the same channel, until something fails.
async fn turns(shared: &Arc<Shared>, lane: Lane, connection: &Connection, acks: &Arc<Acks>) -> BrokerError {
    let failed = |error: TopologyError| BrokerError::Unavailable(format!("lane {lane}: {error}"));
    let mut was_stuck = false;
    loop {
        match turn(shared, lane, connection, acks).await {
            Ok(Stop::Idle) => {
                was_stuck = false;
                if let Err(error) = until_wanted(shared, lane, acks.channel()).await {
                    return error;
                }
            }
            Ok(Stop::Stuck) if !was_stuck => {
                warn!(broker.lane = %lane, "messages wait and none is delivered: the consumer starts again");
                was_stuck = true;
            }
            Ok(Stop::Stuck) => return BrokerError::Unavailable(format!("lane {lane}: nothing is delivered")),
            Err(error) => return failed(error),
        }
    }
}

async fn open(shared: &Shared, connection: &Connection) -> Result<Channel, TopologyError> {
    let limit = shared.options.call_timeout;
    let channel = within(limit, connection.create_channel()).await?;
    // Per consumer: a limit for the whole channel is not known to quorum queues.
    let qos = channel.basic_qos(shared.options.prefetch, BasicQosOptions { global: false });
    within(limit, qos).await?;
    Ok(channel)
}

/// One consumer, from its start to its end or pause.
async fn turn(
    shared: &Arc<Shared>,
    lane: Lane,
    connection: &Connection,
    acks: &Arc<Acks>,
) -> Result<Stop, TopologyError> {
    let (limit, channel) = (shared.options.call_timeout, acks.channel());
    let queue = shared.recipe.names.queue(lane);
    let tag = format!("{lane}.{}", uuid::Uuid::now_v7().simple());
    let start =
        channel.basic_consume(queue, tag.into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = within(limit, start).await?;
    let demand = shared.demand(lane);
    demand.set_active(true);
    shared.changed.notify_waiters();
    let stop = receive(shared, lane, connection, acks, &mut consumer).await?;
    demand.set_active(false);
    debug!(broker.lane = %lane, ?stop, "the lane's consumer stops");
    let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
    within(limit, cancel).await?;
    // What came before the server knew, then what nobody has taken: all of it back.
    while let Some(Some(delivery)) = consumer.next().now_or_never() {
        arrive(shared, lane, acks, [delivery?]);
    }
    let released = shared.held.lock().release(lane);
    if !released.is_empty() {
        info!(broker.lane = %lane, messages = released.len(), "messages that nobody here takes go back");
        requeue(released).await;
    }
    Ok(stop)
}

/// Takes in what the server delivers.
async fn receive(
    shared: &Arc<Shared>,
    lane: Lane,
    connection: &Connection,
    acks: &Arc<Acks>,
    consumer: &mut Consumer,
) -> Result<Stop, TopologyError> {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watch = Watch::new(Instant::now(), shared.options.watchdog);
    loop {
        tokio::select! {
            biased;
            delivery = consumer.next() => {
                let Some(first) = delivery else {
                    return Err(TopologyError::Other("the server cancelled the consumer".into()));
                };
                let mut gulp = vec![first?];
                while gulp.len() < GULP_MAX
                    && let Some(Some(Ok(delivery))) = consumer.next().now_or_never()
                {
                    gulp.push(delivery);
                }
                watch.arrived(Instant::now());
                arrive(shared, lane, acks, gulp);
            }
            _ = look.tick() => {
                if !acks.channel().status().connected() {
                    return Err(TopologyError::Other("the channel was closed".into()));
                }
                if !shared.demand(lane).is_wanted() {
                    return Ok(Stop::Idle);
                }
                if watch.is_time(Instant::now()) && has_credit(shared, lane) {
                    let waiting = depth(shared, connection, lane).await?;
                    if watch.is_stuck(waiting, Instant::now()) {
                        return Ok(Stop::Stuck);
                    }
                }
            }
        }
    }
}

fn arrive(shared: &Shared, lane: Lane, acks: &Arc<Acks>, deliveries: impl IntoIterator<Item = Delivery>) {
    let mut held = shared.held.lock();
    for delivery in deliveries {
        // Before anybody can take it: a group of acks must know of every message below it.
        acks.arrived(delivery.delivery_tag);
        let answer = Answer { acks: Arc::clone(acks), tag: delivery.delivery_tag };
        let (payload, deliveries) = decode(lane, delivery);
        held.arrive(lane, Arrival { payload, deliveries, answer });
    }
    drop(held);
    shared.changed.notify_waiters();
}

fn has_credit(shared: &Shared, lane: Lane) -> bool {
    let count = shared.held.lock().count(lane);
    count.buffered + count.in_hand + count.delayed < usize::from(shared.options.prefetch)
}

/// Messages that wait on the server.
async fn depth(shared: &Shared, connection: &Connection, lane: Lane) -> Result<u32, TopologyError> {
    let limit = shared.options.call_timeout;
    let channel = within(limit, connection.create_channel()).await?;
    let look = QueueDeclareOptions::default().passive();
    let queue =
        within(limit, channel.queue_declare(shared.recipe.names.queue(lane), look, FieldTable::default()))
            .await?;
    Ok(queue.message_count())
}

/// Waits for demand on a channel that has no consumer and perhaps messages in hand.
async fn until_wanted(shared: &Shared, lane: Lane, channel: &Channel) -> Result<(), BrokerError> {
    loop {
        tokio::select! {
            () = shared.demand(lane).until_wanted() => return Ok(()),
            () = tokio::time::sleep(HOARD_MAX) => {
                if !channel.status().connected() {
                    return Err(BrokerError::Unavailable(format!("lane {lane}: the channel was closed")));
                }
            }
        }
    }
}

/// Decides whether a consumer is stuck: messages waited, and none came, at two looks in a row.
struct Watch {
    every: Duration,
    next: Instant,
    is_suspicious: bool,
}

impl Watch {
    fn new(now: Instant, every: Duration) -> Self {
        Self { every, next: now + every, is_suspicious: false }
    }

    fn arrived(&mut self, now: Instant) {
        self.next = now + self.every;
        self.is_suspicious = false;
    }

    fn is_time(&self, now: Instant) -> bool {
        now >= self.next
    }

    fn is_stuck(&mut self, waiting: u32, now: Instant) -> bool {
        self.next = now + self.every;
        let was_suspicious = std::mem::replace(&mut self.is_suspicious, waiting > 0);
        was_suspicious && waiting > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_stuck_when_messages_wait_twice_and_none_comes() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut watch = Watch::new(now, 5 * second);
        assert!(!watch.is_time(now + 4 * second) && watch.is_time(now + 5 * second));
        assert!(!watch.is_stuck(3, now + 5 * second), "they may be on their way");
        watch.arrived(now + 6 * second);
        assert!(!watch.is_time(now + 10 * second));
        assert!(!watch.is_stuck(3, now + 11 * second));
        assert!(!watch.is_stuck(0, now + 16 * second));
        assert!(!watch.is_stuck(1, now + 21 * second));
        assert!(watch.is_stuck(1, now + 26 * second));
    }
}
