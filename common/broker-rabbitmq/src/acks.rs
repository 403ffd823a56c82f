//! Acknowledgements of one channel, many in one frame where the order allows it.
//!
//! In a quorum queue each acknowledgement is an entry in a replicated log, and one with `multiple` is one entry for
//! everything up to its tag. Invariant: such a tag stays below every message that is neither acknowledged nor on its
//! way back to the server, so that nothing is acknowledged that a worker still holds. An ack that is lost with its
//! channel leads to a redelivery, which the store knows. Made by `lane`, filled by `delivery`.

use std::collections::BTreeSet;
use std::time::Duration;

use bul_broker::BrokerError;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::topology::{TopologyError, within};

/// How long an ack waits for older messages. The server gives a full prefetch no more messages meanwhile.
const STRAGGLER_WAIT: Duration = Duration::from_millis(5);

/// Messages of one channel by delivery tag: plain data, time as an argument.
#[derive(Debug, Default)]
struct Tags {
    /// In this process and not answered.
    open: BTreeSet<u64>,
    /// Acknowledged here, not yet on the server.
    done: BTreeSet<u64>,
    /// When the acks that older messages hold up go out on their own.
    due: Option<Instant>,
}

impl Tags {
    fn ack(&mut self, tag: u64) {
        if self.open.remove(&tag) {
            self.done.insert(tag);
        }
    }

    /// The highest tag below which everything is acknowledged, once.
    fn group(&mut self, now: Instant) -> Option<u64> {
        let later = match self.open.first() {
            Some(oldest) => self.done.split_off(oldest),
            None => BTreeSet::new(),
        };
        let group = std::mem::replace(&mut self.done, later).last().copied();
        self.due = match self.done.is_empty() {
            true => None,
            false => self.due.or(Some(now + STRAGGLER_WAIT)),
        };
        group
    }

    /// What has waited long enough for older messages.
    fn stragglers(&mut self, now: Instant) -> BTreeSet<u64> {
        match self.due {
            Some(due) if due <= now => self.rest(),
            Some(_) | None => BTreeSet::new(),
        }
    }

    /// Everything, however long it has waited.
    fn rest(&mut self) -> BTreeSet<u64> {
        self.due = None;
        std::mem::take(&mut self.done)
    }
}

/// What answers the server on one channel.
#[derive(Debug)]
pub(crate) struct Acks {
    channel: Channel,
    limit: Duration,
    tags: Mutex<Tags>,
    wake: Notify,
    /// One writer at a time: a group must not overtake another.
    writing: tokio::sync::Mutex<()>,
}

impl Acks {
    pub(crate) fn new(channel: Channel, limit: Duration) -> Self {
        let writing = tokio::sync::Mutex::default();
        Self { channel, limit, tags: Mutex::default(), wake: Notify::new(), writing }
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// A message has come in.
    pub(crate) fn arrived(&self, tag: u64) {
        self.tags.lock().open.insert(tag);
    }

    /// Leaves an ack for the next frame.
    pub(crate) fn ack(&self, tag: u64) {
        self.tags.lock().ack(tag);
        self.wake.notify_one();
    }

    /// Gives a message back. The frame is on its way before the first wait: a caller that goes away cannot lose it.
    pub(crate) async fn requeue(&self, tag: u64) -> Result<(), BrokerError> {
        /// The tag counts as open until its frame is written: a group before that would take it along.
        struct Leaving<'a>(&'a Acks, u64);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.tags.lock().open.remove(&self.1);
                self.0.wake.notify_one();
            }
        }
        let _leaving = Leaving(self, tag);
        let options = BasicNackOptions { multiple: false, requeue: true };
        within(self.limit, self.channel.basic_nack(tag, options)).await.map_err(unavailable)
    }

    /// Writes what is left here, for ever; ends when the channel takes no more.
    pub(crate) async fn run(&self) -> BrokerError {
        loop {
            let due = self.tags.lock().due;
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep_until(due) => {}
            }
            // A commit ends many jobs: let all of them say so.
            tokio::task::yield_now().await;
            if let Err(error) = self.write(Tags::stragglers).await {
                return error;
            }
        }
    }

    /// Writes everything that is left here.
    pub(crate) async fn flush(&self) -> Result<(), BrokerError> {
        self.write(|tags, _| tags.rest()).await
    }

    async fn write(&self, singly: fn(&mut Tags, Instant) -> BTreeSet<u64>) -> Result<(), BrokerError> {
        let _writing = self.writing.lock().await;
        let (group, stragglers) = {
            let (mut tags, now) = (self.tags.lock(), Instant::now());
            (tags.group(now), singly(&mut tags, now))
        };
        if let Some(tag) = group {
            self.ack_now(tag, true).await?;
        }
        for tag in stragglers {
            self.ack_now(tag, false).await?;
        }
        Ok(())
    }

    async fn ack_now(&self, tag: u64, multiple: bool) -> Result<(), BrokerError> {
        let options = BasicAckOptions { multiple };
        within(self.limit, self.channel.basic_ack(tag, options)).await.map_err(unavailable)
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn unavailable(error: TopologyError) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_group_ends_below_the_oldest_open_message() {
        let (now, mut tags) = (Instant::now(), Tags::default());
        tags.open.extend(1..=6);
        for tag in [2, 1, 3, 5] {
            tags.ack(tag);
        }
        assert_eq!(tags.group(now), Some(3));
        assert_eq!(tags.group(now), None, "only once");
        assert!(tags.stragglers(now).is_empty());
        tags.ack(4);
        assert_eq!(tags.group(now), Some(5), "the straggler goes with the group that reaches it");
        assert_eq!(tags.due, None);
        tags.ack(6);
        tags.ack(6);
        assert_eq!((tags.group(now), tags.group(now)), (Some(6), None));
    }

    #[test]
    fn a_straggler_waits_for_older_messages_and_not_for_ever() {
        let (now, mut tags) = (Instant::now(), Tags::default());
        tags.open.extend(1..=3);
        tags.ack(3);
        assert_eq!(tags.group(now), None);
        tags.ack(2);
        assert_eq!(tags.group(now + STRAGGLER_WAIT / 2), None);
        assert_eq!(tags.due, Some(now + STRAGGLER_WAIT), "a later one gives the first no longer wait");
        assert_eq!(tags.stragglers(now + STRAGGLER_WAIT), BTreeSet::from([2, 3]));
        tags.ack(1);
        assert_eq!((tags.group(now), tags.due), (Some(1), None), "the server has the others already");
    }

    #[test]
    fn at_the_end_nothing_waits() {
        let (now, mut tags) = (Instant::now(), Tags::default());
        tags.open.extend(1..=4);
        tags.ack(1);
        tags.ack(3);
        assert_eq!((tags.group(now), tags.rest()), (Some(1), BTreeSet::from([3])));
        assert!(tags.done.is_empty() && tags.due.is_none());
    }

    proptest! {
        /// What the server is told, against a server that does what AMQP 0-9-1 says of `multiple`.
        #[test]
        fn the_server_hears_of_every_ack_once_and_of_nothing_else(
            steps in prop::collection::vec((0..4u8, 0..40u64), 1..200),
        ) {
            let (mut now, mut tags, mut next) = (Instant::now(), Tags::default(), 1);
            let (mut server, mut acked): (BTreeSet<u64>, BTreeSet<u64>) = Default::default();
            for (step, number) in steps {
                match step {
                    0 => {
                        let arrived = next..next + number % 5;
                        next = arrived.end;
                        tags.open.extend(arrived.clone());
                        server.extend(arrived);
                    }
                    1 | 2 => {
                        let Some(tag) = tags.open.iter().nth(number as usize % 7).copied() else { continue };
                        if step == 1 {
                            tags.ack(tag);
                            acked.insert(tag);
                        } else {
                            tags.open.remove(&tag);
                            server.remove(&tag);
                        }
                    }
                    _ => now += STRAGGLER_WAIT / 3,
                }
                let before = server.clone();
                if let Some(group) = tags.group(now) {
                    prop_assert!(server.contains(&group), "an unknown tag closes the channel");
                    server.retain(|tag| *tag > group);
                }
                for tag in tags.stragglers(now) {
                    prop_assert!(server.remove(&tag), "an unknown tag closes the channel");
                }
                prop_assert!(before.difference(&server).all(|tag| acked.contains(tag)));
            }
            tags.group(now);
            for tag in tags.rest() {
                prop_assert!(server.remove(&tag), "an unknown tag closes the channel");
            }
            prop_assert!(tags.done.is_empty() && tags.due.is_none());
        }
    }
}
