//! Handing out: from the buffers of a process's own queues, and singly from others' partitions. Called by `lib`.

use std::sync::Arc;

use bul_broker::{BrokerError, Delivery};
use bul_job::Queue;
use lapin::options::BasicGetOptions;
use tokio::time::Instant;

use crate::Shared;
use crate::delivery::RabbitDelivery;
use crate::feed::Feed;
use crate::held::Hold;
use crate::lane::arrive;
use crate::options::FIRST_WAIT;
use crate::topology::within;

type Taken = Vec<Box<dyn Delivery>>;

impl Shared {
    fn take(self: &Arc<Self>, feed: Feed, max: usize) -> Taken {
        let hold = Hold { ack_wait: self.options.ack_wait, hold_max: self.options.hold_max };
        let mut held = self.held.lock();
        let before = held.next_deadline();
        let taken = held.take(feed, max, Instant::now(), hold);
        let is_earlier = before.is_none_or(|before| held.next_deadline().is_some_and(|now| now < before));
        drop(held);
        if is_earlier {
            self.earlier.notify_one();
        }
        let delivery = |taken| Box::new(RabbitDelivery::new(Arc::clone(self), taken)) as Box<dyn Delivery>;
        taken.into_iter().map(delivery).collect()
    }

    /// Takes from each feed about the same; what one lacks the others give.
    fn take_from(self: &Arc<Self>, feeds: &[Feed], max: usize) -> Taken {
        let share = max.div_ceil(feeds.len().max(1));
        let mut taken = Taken::new();
        for most in [share, max] {
            for feed in feeds {
                taken.extend(self.take(*feed, most.min(max - taken.len())));
            }
        }
        taken
    }

    /// Nothing lies here although somebody asks: where that is since all of it is in hand, more may come.
    fn note_starved(&self, feeds: &[Feed]) {
        let held = self.held.lock();
        for feed in feeds {
            let count = held.count(*feed);
            let (most, is_divided) = (self.options.prefetch, self.partitions > 1);
            self.demand(*feed).asked_for_more(count.in_hand + count.delayed, most, is_divided);
        }
    }

    /// Those of the queues that there are.
    fn feeds(&self, queues: &[Queue]) -> Vec<Feed> {
        let is_there = |queue: &&Queue| queue.partition.number() < self.partitions;
        queues.iter().filter(is_there).copied().map(Feed::Queue).collect()
    }

    /// Why a feed gives nothing.
    fn unavailable(&self, feed: Feed) -> BrokerError {
        if !self.consuming.is_up() {
            return self.consuming.unavailable();
        }
        let reason = self.demand(feed).reason();
        BrokerError::Unavailable(reason.unwrap_or_else(|| format!("{feed}: no consumer starts")))
    }

    /// Waits for the feed's channel.
    async fn active(&self, feed: Feed) -> Result<(), BrokerError> {
        let limit = Instant::now() + self.options.call_timeout;
        let is_active = || self.demand(feed).is_active();
        if self.until(limit, is_active).await? { Ok(()) } else { Err(self.unavailable(feed)) }
    }

    /// Waits for the feed's consumer, then a moment for its first message.
    async fn first_of(&self, feed: Feed) -> Result<(), BrokerError> {
        self.active(feed).await?;
        self.until(Instant::now() + FIRST_WAIT, || self.held.lock().has(feed)).await?;
        Ok(())
    }

    /// Waits until it is so; `false` when it was not in time.
    async fn until(&self, limit: Instant, is_so: impl Fn() -> bool) -> Result<bool, BrokerError> {
        loop {
            // Registered before the look: a change in between is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.open()?;
            if is_so() {
                return Ok(true);
            }
            tokio::select! {
                () = changed => {}
                () = self.closed.cancelled() => {}
                () = tokio::time::sleep_until(limit) => return Ok(is_so()),
            }
        }
    }
}

/// Up to `max` messages of queues that this process consumes, or begins to.
pub(crate) async fn fetch(shared: &Arc<Shared>, queues: &[Queue], max: usize) -> Result<Taken, BrokerError> {
    let feeds = shared.feeds(queues);
    if max == 0 || feeds.is_empty() {
        return Ok(Taken::new());
    }
    feeds.iter().for_each(|feed| shared.demand(*feed).touch());
    let taken = shared.take_from(&feeds, max);
    if !taken.is_empty() {
        return Ok(taken);
    }
    let starting: Vec<Feed> =
        feeds.iter().copied().filter(|feed| !shared.demand(*feed).is_active()).collect();
    if starting.is_empty() {
        shared.note_starved(&feeds);
        // A caller that polls must not keep the consumers' tasks from running.
        tokio::task::yield_now().await;
    } else {
        let started = starting.iter().map(|feed| shared.first_of(*feed));
        let started = futures::future::join_all(started).await;
        let taken = shared.take_from(&feeds, max);
        // One queue that fails does not keep back what another has given.
        return if taken.is_empty() {
            started.into_iter().collect::<Result<_, _>>().map(|()| taken)
        } else {
            Ok(taken)
        };
    }
    Ok(shared.take_from(&feeds, max))
}

/// Up to `max` messages of others' queues, asked for one by one.
pub(crate) async fn help(shared: &Arc<Shared>, queues: &[Queue], max: usize) -> Result<Taken, BrokerError> {
    let mut taken = Taken::new();
    for feed in shared.feeds(queues) {
        let Feed::Queue(queue) = feed else { continue };
        let wanted = max - taken.len();
        if wanted == 0 {
            break;
        }
        let help = Feed::Help(queue.lane);
        shared.demand(help).touch();
        // What this process consumes lies here; what a caller that went away had asked for as well.
        taken.extend(shared.take_from(&[feed, help], wanted));
        if taken.len() == max || shared.demand(feed).is_active() {
            continue;
        }
        shared.active(help).await?;
        // A task of its own: a message that comes after the caller has gone must find its place.
        let getter = Arc::clone(shared);
        let wanted = max - taken.len();
        let get = shared.tasks.spawn(async move { get(&getter, queue, wanted).await });
        let got = get.await.unwrap_or(Err(BrokerError::Closed));
        taken.extend(shared.take(help, max - taken.len()));
        if taken.is_empty() {
            got?;
        }
    }
    Ok(taken)
}

/// Asks the server for up to `wanted` messages of a queue.
async fn get(shared: &Arc<Shared>, queue: Queue, wanted: usize) -> Result<(), BrokerError> {
    let feed = Feed::Help(queue.lane);
    let Some(acks) = shared.acks(feed).lock().clone() else { return Err(shared.unavailable(feed)) };
    for _ in 0..wanted {
        let name = shared.recipe.names.queue(queue);
        let get = acks.channel().basic_get(name, BasicGetOptions::default());
        let got = within(shared.options.call_timeout, get).await;
        let got = got.map_err(|error| BrokerError::Unavailable(format!("{feed}: {error}")))?;
        let Some(message) = got else { break };
        arrive(shared, feed, &acks, [message.delivery]);
    }
    Ok(())
}

/// Returns when one of the queues may have work.
pub(crate) async fn ready(shared: &Arc<Shared>, queues: &[Queue]) -> Result<(), BrokerError> {
    let feeds = shared.feeds(queues);
    let _waiting: Vec<_> = feeds.iter().map(|feed| shared.demand(*feed).wait()).collect();
    let has_work = || {
        let held = shared.held.lock();
        feeds.iter().any(|feed| held.has(*feed))
    };
    loop {
        if !has_work() {
            shared.note_starved(&feeds);
        }
        if shared.until(Instant::now() + shared.options.call_timeout, has_work).await? {
            return Ok(());
        }
        if let Some(feed) = feeds.iter().find(|feed| !shared.demand(**feed).is_active()) {
            return Err(shared.unavailable(*feed));
        }
    }
}
