//! The channel of one feed: a queue's consumer with its start and end, or what `help` takes messages by.
//!
//! Invariant: when a channel is gone, nothing of its feed is left in this process, since the server has
//! requeued it all. It runs for ever: consumers that silently stop are the commonest complaint about
//! others. One task per feed, started by `lib`.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bul_broker::BrokerError;
use bul_job::Queue;
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
use crate::feed::Feed;
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
    /// More may lie here than before.
    Grown,
}

/// Runs the feed's channel whenever it is wanted, for ever.
pub(crate) async fn run(shared: &Arc<Shared>, feed: Feed) {
    let demand = shared.demand(feed);
    let mut pauses = pauses();
    loop {
        demand.until_wanted().await;
        let start = Instant::now();
        let error = consume(shared, feed).await;
        demand.set_active(false);
        demand.set_reason(error.to_string());
        shared.held.lock().forget(feed);
        shared.changed.notify_waiters();
        if shared.consuming.is_up() {
            // The line tells of its own losses; this is the feed's alone.
            warn!(broker.feed = %feed, %error, "its channel is built again");
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

fn failed(feed: Feed, error: TopologyError) -> BrokerError {
    BrokerError::Unavailable(format!("{feed}: {error}"))
}

/// Works on one channel until something fails.
async fn consume(shared: &Arc<Shared>, feed: Feed) -> BrokerError {
    let opened = async {
        let connection = shared.consuming.get().await?;
        let limit = shared.options.call_timeout;
        let channel =
            within(limit, connection.create_channel()).await.map_err(|error| failed(feed, error))?;
        Ok::<_, BrokerError>((connection, Arc::new(Acks::new(channel, limit))))
    };
    let (connection, acks) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    *shared.acks(feed).lock() = Some(Arc::clone(&acks));
    let work = async {
        match feed {
            Feed::Queue(queue) => turns(shared, queue, &connection, &acks).await,
            Feed::Help(_) => stand_by(shared, feed, &acks).await,
        }
    };
    tokio::select! {
        error = work => error,
        error = acks.run() => error,
    }
}

/// Keeps a channel by which messages are taken one by one, and gives back what a caller that went away has left.
async fn stand_by(shared: &Arc<Shared>, feed: Feed, acks: &Acks) -> BrokerError {
    let demand = shared.demand(feed);
    demand.set_active(true);
    shared.changed.notify_waiters();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if !acks.channel().status().connected() {
            return BrokerError::Unavailable(format!("{feed}: the channel was closed"));
        }
        if !demand.is_wanted() {
            release(shared, feed).await;
        }
    }
}

/// One consumer after the other on the same channel, until something fails.
async fn turns(shared: &Arc<Shared>, queue: Queue, connection: &Connection, acks: &Arc<Acks>) -> BrokerError {
    let feed = Feed::Queue(queue);
    let mut was_stuck = false;
    loop {
        match turn(shared, queue, connection, acks).await {
            Ok(Stop::Idle) => {
                was_stuck = false;
                if let Err(error) = until_wanted(shared, feed, acks.channel()).await {
                    return error;
                }
            }
            Ok(Stop::Grown) => was_stuck = false,
            Ok(Stop::Stuck) if !was_stuck => {
                warn!(broker.feed = %feed, "messages wait and none is delivered: the consumer starts again");
                was_stuck = true;
            }
            Ok(Stop::Stuck) => return BrokerError::Unavailable(format!("{feed}: nothing is delivered")),
            Err(error) => return failed(feed, error),
        }
    }
}

/// One consumer, from its start to its end or pause.
async fn turn(
    shared: &Arc<Shared>,
    queue: Queue,
    connection: &Connection,
    acks: &Arc<Acks>,
) -> Result<Stop, TopologyError> {
    let (limit, channel, feed) = (shared.options.call_timeout, acks.channel(), Feed::Queue(queue));
    let prefetch = shared.prefetch(feed);
    // Per consumer: a limit for the whole channel is not known to quorum queues.
    let qos = channel.basic_qos(prefetch, BasicQosOptions { global: false });
    within(limit, qos).await?;
    let name = shared.recipe.names.queue(queue);
    let tag = format!("{queue}.{}", uuid::Uuid::now_v7().simple());
    let start =
        channel.basic_consume(name, tag.into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = within(limit, start).await?;
    let demand = shared.demand(feed);
    demand.set_active(true);
    shared.changed.notify_waiters();
    let stop = receive(shared, queue, connection, acks, &mut consumer).await?;
    demand.set_active(false);
    debug!(broker.feed = %feed, ?stop, "its consumer stops");
    let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
    within(limit, cancel).await?;
    // What came before the server knew, then what nobody has taken: all of it back.
    while let Some(Some(delivery)) = consumer.next().now_or_never() {
        arrive(shared, feed, acks, [delivery?]);
    }
    release(shared, feed).await;
    Ok(stop)
}

/// What nobody here has taken goes back to the server.
async fn release(shared: &Shared, feed: Feed) {
    let released = shared.held.lock().release(feed);
    if !released.is_empty() {
        info!(broker.feed = %feed, messages = released.len(), "messages that nobody here takes go back");
        requeue(released).await;
    }
}

/// Takes in what the server delivers.
async fn receive(
    shared: &Arc<Shared>,
    queue: Queue,
    connection: &Connection,
    acks: &Arc<Acks>,
    consumer: &mut Consumer,
) -> Result<Stop, TopologyError> {
    let feed = Feed::Queue(queue);
    let prefetch = shared.prefetch(feed);
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
                arrive(shared, feed, acks, gulp);
            }
            _ = look.tick() => {
                if !acks.channel().status().connected() {
                    return Err(TopologyError::Other("the channel was closed".into()));
                }
                if !shared.demand(feed).is_wanted() {
                    return Ok(Stop::Idle);
                }
                if shared.prefetch(feed) != prefetch {
                    return Ok(Stop::Grown);
                }
                if watch.is_time(Instant::now()) && has_credit(shared, feed) {
                    let waiting = depth(shared, connection, queue).await?;
                    if watch.is_stuck(waiting, Instant::now()) {
                        return Ok(Stop::Stuck);
                    }
                }
            }
        }
    }
}

/// Takes messages into the feed's buffer.
pub(crate) fn arrive(
    shared: &Shared,
    feed: Feed,
    acks: &Arc<Acks>,
    deliveries: impl IntoIterator<Item = Delivery>,
) {
    let mut held = shared.held.lock();
    for delivery in deliveries {
        // Before anybody can take it: a group of acks must know of every message below it.
        acks.arrived(delivery.delivery_tag);
        let answer = Answer { acks: Arc::clone(acks), tag: delivery.delivery_tag };
        let (payload, deliveries) = decode(feed.lane(), delivery);
        held.arrive(feed, Arrival { payload, deliveries, answer });
    }
    drop(held);
    shared.changed.notify_waiters();
}

fn has_credit(shared: &Shared, feed: Feed) -> bool {
    let count = shared.held.lock().count(feed);
    count.buffered + count.in_hand + count.delayed < usize::from(shared.prefetch(feed))
}

/// Messages that wait on the server.
async fn depth(shared: &Shared, connection: &Connection, queue: Queue) -> Result<u32, TopologyError> {
    let limit = shared.options.call_timeout;
    let channel = within(limit, connection.create_channel()).await?;
    depth_on(shared, &channel, queue).await
}

/// The same on a channel that is open already.
pub(crate) async fn depth_on(shared: &Shared, channel: &Channel, queue: Queue) -> Result<u32, TopologyError> {
    let look = QueueDeclareOptions::default().passive();
    let name = shared.recipe.names.queue(queue);
    let found = channel.queue_declare(name, look, FieldTable::default());
    Ok(within(shared.options.call_timeout, found).await?.message_count())
}

/// Waits for demand on a channel that has no consumer and perhaps messages in hand.
async fn until_wanted(shared: &Shared, feed: Feed, channel: &Channel) -> Result<(), BrokerError> {
    loop {
        tokio::select! {
            () = shared.demand(feed).until_wanted() => return Ok(()),
            () = tokio::time::sleep(HOARD_MAX) => {
                if !channel.status().connected() {
                    return Err(BrokerError::Unavailable(format!("{feed}: the channel was closed")));
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
