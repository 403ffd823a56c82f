//! What this process has published and the server has confirmed, so that its second try is dropped.
//!
//! Invariant: only confirmed publications are in it, none older than the window, none from before
//! the connection or the queues were made again: what a server has lost must be publishable.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bul_broker::Message;
use bul_job::{JobId, PublishNo};
use tokio::time::Instant;

type Key = (JobId, PublishNo);

fn key(message: &Message) -> Key {
    (message.job, message.publish)
}

/// Confirmed publications, bounded in number and time.
pub(crate) struct Recent {
    order: VecDeque<(Instant, Key)>,
    known: HashSet<Key>,
    max: usize,
    window: Duration,
    /// Counts how often everything was forgotten.
    epoch: u64,
}

impl Recent {
    pub(crate) fn new(max: usize, window: Duration) -> Self {
        Self { order: VecDeque::new(), known: HashSet::new(), max, window, epoch: 0 }
    }

    /// The messages that are new, each once, and the epoch to confirm them in.
    pub(crate) fn unknown<'a>(&mut self, messages: &'a [Message], now: Instant) -> (Vec<&'a Message>, u64) {
        self.drop_old(now);
        let mut seen = HashSet::with_capacity(messages.len());
        let is_new = |message: &&Message| !self.known.contains(&key(message)) && seen.insert(key(message));
        (messages.iter().filter(is_new).collect(), self.epoch)
    }

    /// They are confirmed; of no interest when the server may have lost them meanwhile.
    pub(crate) fn confirm(&mut self, messages: &[&Message], epoch: u64, now: Instant) {
        if self.max == 0 || epoch != self.epoch {
            return;
        }
        for message in messages {
            if self.order.len() >= self.max
                && let Some((_, oldest)) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            if self.known.insert(key(message)) {
                self.order.push_back((now, key(message)));
            }
        }
    }

    /// The epoch to confirm in what was published although it may be known.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn forget(&mut self) {
        self.order.clear();
        self.known.clear();
        self.epoch += 1;
    }

    fn drop_old(&mut self, now: Instant) {
        while let Some((at, oldest)) = self.order.front()
            && now.saturating_duration_since(*at) > self.window
        {
            self.known.remove(oldest);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use bul_job::{Lane, TenantId};

    use super::*;

    fn message() -> Message {
        Message {
            job: JobId::new(),
            tenant: TenantId::default_tenant(),
            lane: Lane::Normal,
            publish: PublishNo(1),
        }
    }

    #[test]
    fn it_is_bounded_in_number_and_time_and_forgets_with_the_server() {
        let (start, window) = (Instant::now(), Duration::from_secs(10));
        let mut recent = Recent::new(2, window);
        let all = [message(), message(), message()];
        let twice = [&all[..], &all[..]].concat();
        let (new, epoch) = recent.unknown(&twice, start);
        assert_eq!(new.len(), 3, "each once");
        let all_of: Vec<&Message> = all.iter().collect();
        recent.confirm(&all_of, epoch, start);
        assert_eq!(recent.unknown(&all, start).0, [&all[0]], "only the oldest is forgotten");
        assert_eq!(recent.unknown(&all, start + window * 2).0.len(), 3);
        let (_, epoch) = recent.unknown(&all, start);
        recent.forget();
        recent.confirm(&all_of, epoch, start);
        assert_eq!(recent.unknown(&all, start).0.len(), 3, "confirmed by a server that is gone");
    }
}
