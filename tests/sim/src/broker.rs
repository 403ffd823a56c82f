//! The model broker: at least once, in no promised order, and forgetful when the scenario says so.
//!
//! Every message is in exactly one place: ready in its lane, delayed, or in a hand. Duplicates are further
//! messages of the same publication. What was lost is remembered for the rules only; no process sees it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bul_job::{Lane, PublishNo};

use crate::clock::Ms;
use crate::exec::Pid;
use crate::faults::Faults;
use crate::store_types::{JobNo, Ready};

/// Without a sign of life for this long a message is handed out again.
const ACK_WAIT: Ms = 30_000;
/// Publications remembered after they are done with.
const RECENT_MAX: usize = 24;
/// Acknowledged messages that a backup may bring back.
const BACKUP_MAX: usize = 12;
/// Largest number of copies of a duplicated message.
const COPIES_MAX: u64 = 10;

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// A job of the store.
    Ready(JobNo, PublishNo),
    /// A job of another program and the number of its message; `None` if nobody can read it.
    Foreign(u32, Option<crate::store_types::Body>),
}

#[derive(Debug, Clone, Copy)]
struct Message {
    /// Names the stored message; copies have the same one, as a stream's sequence number has.
    number: u64,
    lane: Lane,
    carry: Carry,
}

/// A message in a worker's hands.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    tag: u64,
    number: u64,
    /// What it carries.
    pub carry: Carry,
}

/// A failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerError {
    /// No answer: it may have taken effect.
    Unavailable,
    /// It takes no more; a part may have been taken.
    Full,
}

/// The queues.
#[derive(Default)]
pub struct Broker {
    lanes: [VecDeque<Message>; 4],
    in_hand: BTreeMap<u64, (Message, Pid, Ms)>,
    delayed: BTreeMap<u64, (Message, Ms)>,
    recent: VecDeque<(JobNo, PublishNo)>,
    backup: VecDeque<Message>,
    copies: BTreeMap<JobNo, u32>,
    lost: BTreeSet<JobNo>,
    /// Jobs whose messages went away since somebody looked.
    pub touched: Vec<JobNo>,
    incarnation: u32,
    next: u64,
    messages_max: usize,
    deletes_by_number: bool,
    fresh: bool,
    armed: Option<Ms>,
}

impl Broker {
    /// An empty one of that size. With `deletes_by_number` a late acknowledgement deletes a message that is
    /// in another hand by now, as JetStream does.
    pub fn new(messages_max: usize, deletes_by_number: bool) -> Self {
        Self { messages_max, deletes_by_number, ..Self::default() }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Messages held.
    pub fn held(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum::<usize>() + self.in_hand.len() + self.delayed.len()
    }

    /// Messages that a process sees: all of them where the broker keeps count; else, as with AMQP, those
    /// that are ready and those in its own hands.
    pub fn depth(&self, by: Pid) -> usize {
        if self.deletes_by_number {
            return self.held();
        }
        let own = self.in_hand.values().filter(|held| held.1 == by).count();
        self.lanes.iter().map(VecDeque::len).sum::<usize>() + own
    }

    /// Whether a message of this job is held.
    pub fn holds(&self, job: JobNo) -> bool {
        self.copies.get(&job).is_some_and(|copies| *copies > 0)
    }

    /// Whether the broker has lost the last message of this job.
    pub fn has_lost(&self, job: JobNo) -> bool {
        self.lost.contains(&job)
    }

    /// Names the data.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    fn put(&mut self, message: Message) {
        if let Carry::Ready(job, _) = message.carry {
            *self.copies.entry(job).or_default() += 1;
        }
        self.ready(message);
    }

    fn ready(&mut self, message: Message) {
        self.lanes[message.lane.index()].push_back(message);
        self.fresh = true;
    }

    fn gone(&mut self, message: Message, lost: bool) {
        let Carry::Ready(job, _) = message.carry else { return };
        if let Some(copies) = self.copies.get_mut(&job) {
            *copies -= 1;
        }
        if lost {
            self.lost.insert(job);
        }
        self.touched.push(job);
    }

    /// Publishes in order; on an error a part may have been taken.
    pub fn publish(&mut self, faults: &mut Faults, now: Ms, ready: &[Ready]) -> Result<(), BrokerError> {
        for Ready { job, lane, publish } in ready {
            self.publish_one(faults, now, *lane, Carry::Ready(*job, *publish))?;
        }
        Ok(())
    }

    /// Publishes one message.
    pub fn publish_one(
        &mut self,
        faults: &mut Faults,
        now: Ms,
        lane: Lane,
        carry: Carry,
    ) -> Result<(), BrokerError> {
        if let Carry::Ready(job, publish) = carry {
            let held = |m: &Message| m.carry == carry;
            let known = self.recent.contains(&(job, publish))
                || self.lanes[lane.index()].iter().any(held)
                || self.in_hand.values().any(|(m, _, _)| held(m));
            if known {
                return Ok(());
            }
        }
        if self.held() >= self.messages_max {
            faults.count("full");
            return Err(BrokerError::Full);
        }
        let message = Message { number: self.number(), lane, carry };
        let rates = faults.rates();
        if faults.happens(rates.message_lost, now, "message lost") {
            if let Carry::Ready(job, _) = carry {
                self.lost.insert(job);
            }
            return Ok(());
        }
        if let Carry::Ready(job, _) = carry {
            self.lost.remove(&job);
        }
        self.put(message);
        if faults.happens(rates.duplicated, now, "duplicated") {
            for _ in 1..faults.between(2, COPIES_MAX) {
                self.put(message);
            }
        }
        Ok(())
    }

    /// Hands out up to `max` messages of a lane.
    pub fn fetch(&mut self, faults: &mut Faults, now: Ms, by: Pid, lane: Lane, max: usize) -> Vec<Delivery> {
        let rates = faults.rates();
        if faults.happens(rates.redelivered, now, "redelivered")
            && let Some((message, _, _)) = self.in_hand.values().next().copied()
        {
            // Still in a hand, and handed out once more: a copy.
            self.put(message);
        }
        let mut taken = Vec::new();
        while taken.len() < max {
            let queue = &mut self.lanes[lane.index()];
            if queue.len() > 1 && faults.happens(rates.reordered, now, "reordered") {
                let other = faults.between(0, queue.len() as u64 - 1) as usize;
                queue.swap(0, other);
            }
            let Some(message) = self.lanes[lane.index()].pop_front() else { break };
            let tag = self.number();
            self.in_hand.insert(tag, (message, by, now + ACK_WAIT));
            taken.push(Delivery { tag, number: message.number, carry: message.carry });
        }
        taken
    }

    /// Done with.
    pub fn ack(&mut self, delivery: Delivery) {
        match self.in_hand.remove(&delivery.tag) {
            Some((message, _, _)) => {
                if let Carry::Ready(job, publish) = message.carry {
                    self.recent.push_back((job, publish));
                    if self.recent.len() > RECENT_MAX {
                        self.recent.pop_front();
                    }
                }
                self.backup.push_back(message);
                if self.backup.len() > BACKUP_MAX {
                    self.backup.pop_front();
                }
                self.gone(message, false);
            }
            None if self.deletes_by_number => self.delete(delivery.number),
            None => {}
        }
    }

    /// A late acknowledgement takes the message out of another hand.
    fn delete(&mut self, number: u64) {
        let other = self.in_hand.iter().find(|(_, (m, _, _))| m.number == number).map(|(tag, _)| *tag);
        if let Some((message, _, _)) = other.and_then(|tag| self.in_hand.remove(&tag)) {
            self.gone(message, false);
        }
    }

    /// Hand it out again later.
    pub fn nack(&mut self, delivery: Delivery, now: Ms, delay: Ms) {
        if let Some((message, _, _)) = self.in_hand.remove(&delivery.tag) {
            let number = self.number();
            self.delayed.insert(number, (message, now + delay));
        }
    }

    /// A worker lets go of it.
    pub fn give_back(&mut self, delivery: Delivery) {
        if let Some((message, _, _)) = self.in_hand.remove(&delivery.tag) {
            self.ready(message);
        }
    }

    /// A sign of life.
    pub fn extend(&mut self, delivery: Delivery, now: Ms) {
        if let Some(held) = self.in_hand.get_mut(&delivery.tag) {
            held.2 = now + ACK_WAIT;
        }
    }

    /// The connection of a process is gone, and what it held is ready again.
    pub fn disconnected(&mut self, pid: Pid) {
        let tags: Vec<u64> =
            self.in_hand.iter().filter(|(_, held)| held.1 == pid).map(|(tag, _)| *tag).collect();
        // Half of the brokers notice at once, the others when the time to acknowledge is over.
        if !self.deletes_by_number {
            for tag in tags {
                if let Some((message, _, _)) = self.in_hand.remove(&tag) {
                    self.ready(message);
                }
            }
        }
    }

    /// Makes ready what has waited long enough.
    pub fn sweep(&mut self, now: Ms) {
        self.armed = None;
        let over: Vec<u64> =
            self.in_hand.iter().filter(|(_, held)| held.2 <= now).map(|(tag, _)| *tag).collect();
        for tag in over {
            if let Some((message, _, _)) = self.in_hand.remove(&tag) {
                self.ready(message);
            }
        }
        let over: Vec<u64> = self.delayed.iter().filter(|(_, held)| held.1 <= now).map(|(n, _)| *n).collect();
        for number in over {
            if let Some((message, _)) = self.delayed.remove(&number) {
                self.ready(message);
            }
        }
    }

    /// When to sweep, if nobody was told yet.
    pub fn take_alarm(&mut self) -> Option<Ms> {
        let in_hand = self.in_hand.values().map(|held| held.2).min();
        let delayed = self.delayed.values().map(|held| held.1).min();
        let at = in_hand.into_iter().chain(delayed).min()?;
        if self.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        self.armed = Some(at);
        Some(at)
    }

    /// Whether messages became ready since the last call.
    pub fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }
}

/// Disasters.
impl Broker {
    /// Another broker stands in its place, and it is empty.
    pub fn wipe(&mut self) {
        self.incarnation += 1;
        self.forget_everything();
    }

    /// Everything is gone; nothing tells.
    pub fn forget_everything(&mut self) {
        let in_hand = std::mem::take(&mut self.in_hand).into_values().map(|held| held.0);
        let delayed = std::mem::take(&mut self.delayed).into_values().map(|held| held.0);
        let mut all: Vec<Message> = in_hand.chain(delayed).collect();
        self.lanes.iter_mut().for_each(|lane| all.extend(lane.drain(..)));
        all.into_iter().for_each(|message| self.gone(message, true));
        self.recent.clear();
    }

    /// Some of what was confirmed is gone: the machine went down before it was synced.
    pub fn forget_some(&mut self, faults: &mut Faults) {
        for lane in 0..4 {
            for message in std::mem::take(&mut self.lanes[lane]) {
                if faults.between(0, 1) == 0 {
                    self.gone(message, true);
                } else {
                    self.lanes[lane].push_back(message);
                }
            }
        }
    }

    /// A backup comes back: messages that were acknowledged are handed out once more.
    pub fn restore(&mut self) {
        self.recent.clear();
        for message in std::mem::take(&mut self.backup) {
            self.put(message);
        }
    }
}
