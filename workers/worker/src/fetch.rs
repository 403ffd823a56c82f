//! What is asked of which queue: lanes in weighted turns, of each lane the process's own partitions first, and where those lack some,
//! now and then the others'.
//!
//! Invariant: a lane's turn is used up before a lower lane has one, and no slot stays free for longer than `HELP_EVERY` while
//! anybody's partition has work for it. Called by `pull`.

use std::time::Duration;

use bul_broker::{Broker, BrokerError, Delivery};
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
    /// Up to `max` messages, shared among the lanes by weight; what one lane lacks the others get. The lanes are asked
    /// at the same time, and one that does not answer is left alone for a while: it must not hold up the others.
    pub(crate) async fn fetch(
        &self,
        lanes: &mut Lanes,
        max: usize,
    ) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let view = self.view;
        let mut open = lanes.healthy(self.serves);
        let (healthy, mut taken, mut failure) = (open.clone(), Vec::new(), None);
        while taken.len() < max && !open.is_empty() {
            let asked = lanes.share(&open, max - taken.len()).into_iter().map(|(lane, wanted)| {
                let (turn, may_help) = (lanes.turn(lane), lanes.may_help(lane));
                async move { (lane, wanted, self.fetch_lane(Ask { lane, wanted, turn, may_help }).await) }
            });
            let asked: Vec<_> = asked.collect();
            for (lane, wanted, fetched) in futures::future::join_all(asked).await {
                match fetched {
                    Ok(got) => {
                        let is_filled = got.deliveries.len() == wanted;
                        if !is_filled {
                            open.retain(|other| *other != lane);
                        }
                        if got.has_looked {
                            lanes.helped(lane, is_filled);
                        }
                        taken.extend(got.deliveries);
                    }
                    Err(error) => {
                        open.retain(|other| *other != lane);
                        lanes.leave_alone(lane);
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
            let own: Vec<Queue> = healthy.iter().flat_map(|lane| queues(*lane, &view.own, 0)).collect();
            // Not for ever: a lane that was left alone is asked again, and others may need help.
            let wait = if view.others.is_empty() { READY_WAIT } else { HELP_EVERY };
            let ready = tokio::time::timeout(wait, self.broker.ready_in(&own)).await;
            ready.unwrap_or(Ok(()))?;
        }
        Ok(taken)
    }

    /// Messages of one lane: of the own partitions, and where those lack some, of the others'. A lane's turn is used up before
    /// the next lane has one: a job of another's partition goes before one of a lower lane of one's own.
    async fn fetch_lane(&self, ask: Ask) -> Result<Got, BrokerError> {
        let (Ask { lane, wanted, turn, may_help }, view) = (ask, self.view);
        let own: Vec<Queue> = queues(lane, &view.own, turn).collect();
        let mut deliveries = match own.is_empty() {
            true => Vec::new(),
            false => within(&own, self.broker.fetch_from(&own, wanted)).await?,
        };
        let is_only = view.others.is_empty();
        self.metrics.taken(if is_only { "only" } else { "own" }, deliveries.len());
        let has_looked = may_help && !is_only && deliveries.len() < wanted;
        let foreign = if has_looked { view.others.as_slice() } else { &[] };
        for queue in queues(lane, foreign, 0) {
            // What is in hand goes on whatever becomes of this.
            let help = self.broker.help_from(std::slice::from_ref(&queue), wanted - deliveries.len());
            let Ok(stolen) = within(&[queue], help).await else {
                debug!(%queue, "cannot help out");
                break;
            };
            self.metrics.taken("stolen", stolen.len());
            deliveries.extend(stolen);
            if deliveries.len() == wanted {
                break;
            }
        }
        Ok(Got { deliveries, has_looked })
    }
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
    wanted: usize,
    /// Which of the own partitions comes first.
    turn: usize,
    may_help: bool,
}

/// What a lane gave.
struct Got {
    deliveries: Vec<Box<dyn Delivery>>,
    /// Whether others' partitions were looked into.
    has_looked: bool,
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
