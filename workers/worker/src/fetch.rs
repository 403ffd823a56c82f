//! What is asked of which queue: lanes in weighted turns, of each lane what is left of earlier bundles, then the process's own
//! partitions, and where those lack some, now and then the others'.
//!
//! Invariant: a lane's turn is used up before a lower lane has one, and no slot stays free for longer than `HELP_EVERY` while
//! anybody's partition has work for it. Called by `pull`.

use std::time::Duration;

use bul_broker::{Broker, BrokerError, Delivery, unpack};
use bul_job::{Lane, Partition, Queue, View};
use tracing::{debug, warn};

use crate::Metrics;
use crate::lanes::{HELP_EVERY, Lanes};

/// How long a lane may take to say what it has.
const LANE_WAIT: Duration = Duration::from_millis(1_500);
/// Longest wait for work before all lanes are asked again.
const READY_WAIT: Duration = Duration::from_secs(4);

/// Where a worker's messages come from.
pub(crate) struct Source<'a> {
    pub(crate) broker: &'a dyn Broker,
    /// Lanes to serve.
    pub(crate) serves: &'a [Lane],
    /// Whose partition is which.
    pub(crate) view: &'a View,
    pub(crate) metrics: &'a Metrics,
}

impl Source<'_> {
    /// Up to `max` jobs, shared among the lanes by weight; what one lane lacks the others get. The lanes are asked
    /// at the same time, and one that does not answer is left alone for a while: it must not hold up the others.
    pub(crate) async fn fetch(
        &self,
        lanes: &mut Lanes,
        max: usize,
    ) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let mut open = lanes.healthy(self.serves);
        let (healthy, mut taken, mut failure) = (open.clone(), Vec::new(), None);
        while taken.len() < max && !open.is_empty() {
            let mut asked = Vec::new();
            for (lane, wanted) in lanes.share(&open, max - taken.len()) {
                let kept = lanes.stock.take(lane, wanted);
                let wanted = wanted - kept.len();
                taken.extend(kept);
                let messages = lanes.stock.messages(lane, wanted);
                let (turn, may_help) = (lanes.turn(lane), lanes.may_help(lane));
                asked.push(self.fetch_lane(Ask { lane, wanted, messages, turn, may_help }));
            }
            for (ask, fetched) in futures::future::join_all(asked).await {
                match fetched {
                    Ok(got) => taken.extend(divide(lanes, &mut open, &ask, got)),
                    Err(error) => {
                        open.retain(|other| *other != ask.lane);
                        lanes.leave_alone(ask.lane);
                        failure = Some(error);
                    }
                }
            }
        }
        lanes.fetched(taken.len() == max);
        match failure {
            Some(error) if taken.is_empty() => return Err(error),
            Some(error) => warn!(%error, "a lane is left alone for a while"),
            None => {}
        }
        if taken.is_empty() {
            let view = self.view;
            let own: Vec<Queue> = healthy.iter().flat_map(|lane| queues(*lane, &view.own, 0)).collect();
            // Not for ever: a lane that was left alone is asked again, and others may need help.
            let wait = if view.others.is_empty() { READY_WAIT } else { HELP_EVERY };
            let ready = tokio::time::timeout(wait, self.broker.ready_in(&own));
            lanes.stock.during(self.broker, ready).await.unwrap_or(Ok(()))?;
        }
        Ok(taken)
    }

    /// Jobs of one lane: of the own partitions, and where those lack some, of the others'. A lane's turn is used up before
    /// the next lane has one: a job of another's partition goes before one of a lower lane of one's own.
    async fn fetch_lane(&self, ask: Ask) -> (Ask, Result<Got, BrokerError>) {
        let mut got = Got::default();
        let fetched = self.fetch_into(&ask, &mut got).await;
        (ask, fetched.map(|()| got))
    }

    async fn fetch_into(&self, ask: &Ask, got: &mut Got) -> Result<(), BrokerError> {
        let (lane, view) = (ask.lane, self.view);
        if ask.wanted == 0 {
            return Ok(());
        }
        let own: Vec<Queue> = queues(lane, &view.own, ask.turn).collect();
        if !own.is_empty() {
            got.add(within(&own, self.broker.fetch_from(&own, ask.messages)).await?);
        }
        let is_only = view.others.is_empty();
        self.metrics.taken(if is_only { "only" } else { "own" }, got.messages);
        let is_short = got.messages < ask.messages && got.jobs.len() < ask.wanted;
        got.has_looked = ask.may_help && !is_only && is_short;
        let foreign = if got.has_looked { view.others.as_slice() } else { &[] };
        for queue in queues(lane, foreign, 0) {
            // What is in hand goes on whatever becomes of this.
            let help = self.broker.help_from(std::slice::from_ref(&queue), ask.messages - got.messages);
            let Ok(stolen) = within(&[queue], help).await else {
                debug!(%queue, "cannot help out");
                break;
            };
            self.metrics.taken("stolen", stolen.len());
            got.add(stolen);
            if got.messages >= ask.messages || got.jobs.len() >= ask.wanted {
                break;
            }
        }
        Ok(())
    }
}

/// Keeps what there is no slot for and returns the rest; closes the lane if it has no more.
fn divide(lanes: &mut Lanes, open: &mut Vec<Lane>, ask: &Ask, mut got: Got) -> Vec<Box<dyn Delivery>> {
    // Fewer jobs than wanted in as many messages as were asked for: there may be more.
    let may_have_more = got.jobs.len() >= ask.wanted || got.messages >= ask.messages;
    if !may_have_more {
        open.retain(|other| *other != ask.lane);
    }
    if got.has_looked {
        lanes.helped(ask.lane, may_have_more);
    }
    lanes.stock.saw(ask.lane, got.messages, got.jobs.len());
    lanes.stock.keep(ask.lane, got.jobs.split_off(ask.wanted.min(got.jobs.len())));
    got.jobs
}

async fn within(
    queues: &[Queue],
    fetch: impl Future<Output = Result<Vec<Box<dyn Delivery>>, BrokerError>>,
) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
    tokio::time::timeout(LANE_WAIT, fetch).await.unwrap_or_else(|_| Err(silent(queues)))
}

/// What is asked of a lane.
struct Ask {
    lane: Lane,
    /// Jobs that there are slots for.
    wanted: usize,
    /// Messages that probably hold as many.
    messages: usize,
    /// Which of the own partitions comes first.
    turn: usize,
    may_help: bool,
}

/// What a lane gave.
#[derive(Default)]
struct Got {
    jobs: Vec<Box<dyn Delivery>>,
    messages: usize,
    /// Whether others' partitions were looked into.
    has_looked: bool,
}

impl Got {
    fn add(&mut self, messages: Vec<Box<dyn Delivery>>) {
        self.messages += messages.len();
        self.jobs.extend(messages.into_iter().flat_map(unpack));
    }
}

/// Queues of a lane, beginning with the partition whose turn it is.
fn queues(lane: Lane, partitions: &[Partition], turn: usize) -> impl Iterator<Item = Queue> {
    let (first, then) = partitions.split_at(turn % partitions.len().max(1));
    then.iter().chain(first).map(move |partition| Queue { lane, partition: *partition })
}

fn silent(queues: &[Queue]) -> BrokerError {
    let lane = queues.first().map_or("?", |queue| queue.lane.as_str());
    BrokerError::Unavailable(format!("lane {lane} does not answer"))
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
