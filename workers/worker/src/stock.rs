//! Jobs that came together with others and found no free slot.
//!
//! They are the oldest of their lane, so they stay here while slots come free and while the lane has work for everybody else. Where
//! they wait although nothing waits with the broker, others may idle: then each is published for itself. Invariant: what lies
//! here is taken before the broker is asked again, shows life, and is looked after while this worker waits for a slot or for
//! work; a worker that may not begin anything gives it back. Called by `fetch` and `pull`.

use std::collections::VecDeque;
use std::time::Duration;

use bul_broker::{Broker, Delivery, Message};
use bul_job::Lane;
use tokio::time::Instant;
use tracing::{debug, warn};

/// After this long without a slot for any of a lane's jobs it is looked whether others idle. Too low: workers of jobs of a few
/// milliseconds publish again what they would have begun by then.
const IDLE_MAX: Duration = Duration::from_millis(50);
/// And after this, even though slots come free.
const KEPT_MAX: Duration = Duration::from_secs(1);
/// How often it is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a broker may take for a look and what follows from it. No slot is filled meanwhile.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// What is kept of each lane.
#[derive(Default)]
pub(crate) struct Stock {
    shelves: [Shelf; Lane::ALL.len()],
}

struct Shelf {
    kept: VecDeque<(Box<dyn Delivery>, Instant)>,
    /// When something was put here or taken last.
    moved: Instant,
    /// Not looked before.
    look_from: Instant,
    /// Jobs in a message of this lane, lately.
    per_message: f32,
}

impl Default for Shelf {
    fn default() -> Self {
        let now = Instant::now();
        Self { kept: VecDeque::new(), moved: now, look_from: now, per_message: 1.0 }
    }
}

impl Shelf {
    /// When it is looked whether others idle.
    fn due(&self) -> Option<Instant> {
        let (_, since) = self.kept.front()?;
        Some((self.moved + IDLE_MAX).min(*since + KEPT_MAX).max(self.look_from))
    }
}

impl Stock {
    /// Up to `max` jobs of a lane, first come first.
    pub(crate) fn take(&mut self, lane: Lane, max: usize) -> Vec<Box<dyn Delivery>> {
        let shelf = &mut self.shelves[lane.index()];
        let taken: Vec<_> = shelf.kept.drain(..max.min(shelf.kept.len())).map(|(job, _)| job).collect();
        if !taken.is_empty() {
            shelf.moved = Instant::now();
        }
        taken
    }

    /// Keeps jobs of a lane.
    pub(crate) fn keep(&mut self, lane: Lane, jobs: Vec<Box<dyn Delivery>>) {
        if jobs.is_empty() {
            return;
        }
        let shelf = &mut self.shelves[lane.index()];
        shelf.moved = Instant::now();
        shelf.kept.extend(jobs.into_iter().map(|job| (job, shelf.moved)));
    }

    /// Gives everything back, with the jobs that came with it: dropped, it returns.
    pub(crate) fn give_back(&mut self) {
        self.shelves.iter_mut().for_each(|shelf| shelf.kept.clear());
    }

    /// So many messages of a lane held so many jobs.
    pub(crate) fn saw(&mut self, lane: Lane, messages: usize, jobs: usize) {
        if messages > 0 {
            let per_message = &mut self.shelves[lane.index()].per_message;
            *per_message = f32::midpoint(*per_message, jobs as f32 / messages as f32);
        }
    }

    /// Messages to ask for so many jobs.
    pub(crate) fn messages(&self, lane: Lane, jobs: usize) -> usize {
        (jobs as f32 / self.shelves[lane.index()].per_message.max(1.0)).ceil() as usize
    }

    /// Waits, and looks meanwhile after what is kept.
    pub(crate) async fn during<T>(&mut self, broker: &dyn Broker, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        loop {
            let Some(due) = self.shelves.iter().filter_map(Shelf::due).min() else { return wait.await };
            tokio::select! {
                biased;
                done = &mut wait => return done,
                () = tokio::time::sleep_until(due) => self.look_after(broker).await,
            }
        }
    }

    async fn look_after(&mut self, broker: &dyn Broker) {
        let now = Instant::now();
        for lane in Lane::ALL {
            let shelf = &mut self.shelves[lane.index()];
            if shelf.due().is_none_or(|due| due > now) {
                continue;
            }
            match tokio::time::timeout(LOOK_MAX, shelf.look(broker, lane)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%lane, %error, "what found no slot goes back"),
                Err(_) => debug!(%lane, "the broker does not answer: what found no slot goes back"),
            }
        }
    }
}

impl Shelf {
    /// Keeps what is here while others have enough to do. Cut off or failed, it has given everything back.
    async fn look(&mut self, broker: &dyn Broker, lane: Lane) -> Result<(), bul_broker::BrokerError> {
        let kept = std::mem::take(&mut self.kept);
        if !broker.waits(lane).await? {
            let (parts, others): (Vec<_>, Vec<_>) =
                kept.into_iter().map(|(job, _)| job).partition(|job| job.is_part());
            // What came alone goes back as it came: a broker would know it, and drop it.
            drop(others);
            return hand_on(broker, parts).await;
        }
        for (job, _) in &kept {
            job.extend().await?;
        }
        self.kept = kept;
        self.look_from = Instant::now() + LOOK_EVERY;
        Ok(())
    }
}

/// Publishes jobs each for itself, so that whoever is idle has one. Dying in between leaves both messages, of which the second finds
/// the job begun.
async fn hand_on(broker: &dyn Broker, jobs: Vec<Box<dyn Delivery>>) -> Result<(), bul_broker::BrokerError> {
    let messages: Vec<Message> = jobs.iter().filter_map(|job| job.payload().ready().cloned()).collect();
    broker.publish_apart(&messages).await?;
    for job in jobs {
        if let Err(error) = job.ack().await {
            warn!(%error, "a message whose jobs were handed on could not be acknowledged and will come again");
        }
    }
    Ok(())
}
