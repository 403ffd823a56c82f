//! What of the server's messages is in this process: plain data behind one lock, time as an argument.
//!
//! Invariant: every message is in exactly one place: in its lane's buffer, in a hand, or in a delay;
//! taking its answer out ends it here. `A` is what answers the server; a number in tests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bul_broker::Payload;
use bul_job::Lane;
use tokio::time::Instant;

/// Names one handing-out; an answer to an older one finds nothing.
pub(crate) type Tag = u64;

/// A message as the server has handed it to this process.
#[derive(Debug)]
pub(crate) struct Arrival<A> {
    pub(crate) payload: Payload,
    pub(crate) deliveries: u32,
    pub(crate) answer: A,
}

/// A message on its way into a worker's hands.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) tag: Tag,
    pub(crate) payload: Payload,
    pub(crate) deliveries: u32,
}

/// How long a hand may hold a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) ack_wait: Duration,
    pub(crate) hold_max: Duration,
}

/// What this process holds of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    pub(crate) buffered: usize,
    pub(crate) in_hand: usize,
    pub(crate) delayed: usize,
}

struct InHand<A> {
    lane: Lane,
    answer: A,
    timer: (Instant, u64),
    /// No sign of life moves the deadline beyond this.
    until: Instant,
}

enum Timer<A> {
    /// Back to the server at that time.
    Delayed(Lane, A),
    /// A worker has shown no life.
    Unanswered(Tag),
}

/// All lanes.
pub(crate) struct Held<A> {
    buffers: [VecDeque<Arrival<A>>; 4],
    counts: [Count; 4],
    in_hand: HashMap<Tag, InHand<A>>,
    /// By deadline; the number makes equal instants distinct.
    timers: BTreeMap<(Instant, u64), Timer<A>>,
    next_number: u64,
}

impl<A> Held<A> {
    pub(crate) fn new() -> Self {
        Self {
            buffers: Default::default(),
            counts: Default::default(),
            in_hand: HashMap::new(),
            timers: BTreeMap::new(),
            next_number: 0,
        }
    }

    pub(crate) fn arrive(&mut self, lane: Lane, arrival: Arrival<A>) {
        self.buffers[lane.index()].push_back(arrival);
        self.counts[lane.index()].buffered += 1;
    }

    /// Hands out up to `max` messages.
    pub(crate) fn take(&mut self, lane: Lane, max: usize, now: Instant, hold: Hold) -> Vec<Taken> {
        let number = max.min(self.buffers[lane.index()].len());
        let mut taken = Vec::with_capacity(number);
        for _ in 0..number {
            let Some(arrival) = self.buffers[lane.index()].pop_front() else { break };
            let count = &mut self.counts[lane.index()];
            count.buffered -= 1;
            count.in_hand += 1;
            let tag = self.number();
            let until = now + hold.hold_max;
            let timer = ((now + hold.ack_wait).min(until), tag);
            self.timers.insert(timer, Timer::Unanswered(tag));
            self.in_hand.insert(tag, InHand { lane, answer: arrival.answer, timer, until });
            taken.push(Taken { tag, payload: arrival.payload, deliveries: arrival.deliveries });
        }
        taken
    }

    /// Takes a message out of a hand to answer it; `None` when it has left that hand already.
    pub(crate) fn answer(&mut self, tag: Tag) -> Option<A> {
        self.leave(tag).map(|(_, answer)| answer)
    }

    /// Takes a message out of a hand to give it back at a time; `false` when it has left it already.
    pub(crate) fn give_back(&mut self, tag: Tag, at: Instant) -> bool {
        let Some((lane, answer)) = self.leave(tag) else { return false };
        let number = self.number();
        self.counts[lane.index()].delayed += 1;
        self.timers.insert((at, number), Timer::Delayed(lane, answer));
        true
    }

    /// A sign of life; `false` when it comes too late, or the message was held for too long in all.
    pub(crate) fn extend(&mut self, tag: Tag, now: Instant, ack_wait: Duration) -> bool {
        let Some(in_hand) = self.in_hand.get_mut(&tag) else { return false };
        if now >= in_hand.until {
            return false;
        }
        self.timers.remove(&in_hand.timer);
        in_hand.timer = ((now + ack_wait).min(in_hand.until), tag);
        self.timers.insert(in_hand.timer, Timer::Unanswered(tag));
        true
    }

    /// The answers of what has passed its deadline or delay: they go back to the server.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<A> {
        let mut due = Vec::new();
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Timer::Delayed(lane, answer) => {
                    self.counts[lane.index()].delayed -= 1;
                    due.push(answer);
                }
                Timer::Unanswered(tag) => due.extend(self.answer(tag)),
            }
        }
        due
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn has(&self, lane: Lane) -> bool {
        !self.buffers[lane.index()].is_empty()
    }

    pub(crate) fn count(&self, lane: Lane) -> Count {
        self.counts[lane.index()]
    }

    /// The answers of what waits in a lane's buffer, first come first.
    pub(crate) fn release(&mut self, lane: Lane) -> Vec<A> {
        self.counts[lane.index()].buffered = 0;
        self.buffers[lane.index()].drain(..).map(|arrival| arrival.answer).collect()
    }

    /// The server has taken a lane's messages back: nothing here can answer them any more.
    pub(crate) fn forget(&mut self, lane: Lane) {
        self.buffers[lane.index()].clear();
        self.counts[lane.index()] = Count::default();
        let (in_hand, timers) = (&mut self.in_hand, &mut self.timers);
        in_hand.retain(|_, held| {
            if held.lane == lane {
                timers.remove(&held.timer);
            }
            held.lane != lane
        });
        timers.retain(|_, timer| !matches!(timer, Timer::Delayed(of, _) if *of == lane));
    }

    fn leave(&mut self, tag: Tag) -> Option<(Lane, A)> {
        let in_hand = self.in_hand.remove(&tag)?;
        self.timers.remove(&in_hand.timer);
        self.counts[in_hand.lane.index()].in_hand -= 1;
        Some((in_hand.lane, in_hand.answer))
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

#[cfg(test)]
mod tests {
    use bul_broker::Message;
    use bul_job::{JobId, PublishNo, TenantId};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOLD: Hold = Hold { ack_wait: Duration::from_secs(10), hold_max: Duration::from_secs(25) };

    fn held(answers: std::ops::Range<u32>) -> Held<u32> {
        let mut held = Held::new();
        for answer in answers {
            let message = Message {
                job: JobId::new(),
                tenant: TenantId::default_tenant(),
                lane: Lane::High,
                publish: PublishNo(1),
            };
            held.arrive(Lane::High, Arrival { payload: Payload::Ready(message), deliveries: 1, answer });
        }
        held
    }

    #[test]
    fn silence_returns_a_message_once_and_a_late_answer_finds_nothing() {
        let (now, mut held) = (Instant::now(), held(0..2));
        let taken = held.take(Lane::High, 9, now, HOLD);
        assert_eq!(held.count(Lane::High), Count { buffered: 0, in_hand: 2, delayed: 0 });
        assert_eq!(held.answer(taken[0].tag), Some(0));
        assert_eq!(held.next_deadline(), Some(now + 10 * SECOND));
        assert!(held.due(now + 9 * SECOND).is_empty());
        assert_eq!(held.due(now + 10 * SECOND), [1]);
        assert!(held.answer(taken[1].tag).is_none());
        assert!(!held.give_back(taken[1].tag, now));
        assert!(!held.extend(taken[1].tag, now, HOLD.ack_wait));
        assert_eq!((held.count(Lane::High), held.next_deadline()), (Count::default(), None));
    }

    #[test]
    fn signs_of_life_move_the_deadline_up_to_the_longest_hold() {
        let (now, mut held) = (Instant::now(), held(7..8));
        let tag = held.take(Lane::High, 1, now, HOLD)[0].tag;
        for second in [8, 16, 24] {
            assert!(held.extend(tag, now + second * SECOND, HOLD.ack_wait));
            assert!(held.due(now + second * SECOND).is_empty());
        }
        assert_eq!(held.next_deadline(), Some(now + 25 * SECOND));
        assert!(!held.extend(tag, now + 25 * SECOND, HOLD.ack_wait));
        assert_eq!(held.due(now + 25 * SECOND), [7]);
    }

    #[test]
    fn delays_are_kept_and_a_lost_channel_takes_everything_of_its_lane() {
        let (now, mut held) = (Instant::now(), held(0..3));
        let taken = held.take(Lane::High, 2, now, HOLD);
        assert!(held.give_back(taken[0].tag, now + 3 * SECOND));
        assert_eq!(held.count(Lane::High), Count { buffered: 1, in_hand: 1, delayed: 1 });
        assert!(held.due(now + 2 * SECOND).is_empty());
        assert_eq!(held.due(now + 3 * SECOND), [0]);
        assert!(held.give_back(taken[1].tag, now + 9 * SECOND));
        held.forget(Lane::Low);
        assert!(held.has(Lane::High));
        held.forget(Lane::High);
        assert!(!held.has(Lane::High) && held.due(now + 99 * SECOND).is_empty());
        assert_eq!(held.count(Lane::High), Count::default());
    }

    #[test]
    fn a_released_buffer_leaves_hands_alone() {
        let (now, mut held) = (Instant::now(), held(0..3));
        let taken = held.take(Lane::High, 1, now, HOLD);
        assert_eq!(held.release(Lane::High), [1, 2]);
        assert_eq!(held.count(Lane::High), Count { buffered: 0, in_hand: 1, delayed: 0 });
        assert_eq!(held.answer(taken[0].tag), Some(0));
    }
}
