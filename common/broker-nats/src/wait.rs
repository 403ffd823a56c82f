//! Waiting for work: for each queue that somebody waits for, one long pull of one message.
//!
//! What it brings is kept for the next fetch of its queue. Invariant: while somebody waits and the link is
//! up, a pull of the current session lies at the server or something is kept, so that no work is slept
//! over; while nobody waits, nothing is asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bul_broker::BrokerError;
use bul_job::Queue;
use tracing::debug;

use crate::fetch::Pulling;
use crate::lanes::{Held, Lanes};
use crate::link::Session;
use crate::pull::Arrival;

/// Length of a long pull. Too long: a process that has stopped waiting takes a message from others for
/// a moment more often, and a pull that the server has lost is noticed late.
const POLL: Duration = Duration::from_secs(5);
/// What is allowed for its answer beyond that.
const POLL_SLACK: Duration = Duration::from_secs(1);
/// Pause after a pull that the server refuses, for example since too many wait there.
const REFUSED_PAUSE: Duration = Duration::from_millis(250);

/// Counts somebody who waits, until dropped.
struct Waiting<'a>(Vec<&'a Held>);

impl<'a> Waiting<'a> {
    fn on(held: Vec<&'a Held>) -> Self {
        for one in &held {
            one.waiters.fetch_add(1, Ordering::Relaxed);
        }
        Self(held)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for held in &self.0 {
            held.waiters.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Lanes {
    /// See `Broker::ready_in`.
    pub(crate) async fn ready(&self, queues: &[Queue]) -> Result<(), BrokerError> {
        let waiting = Waiting::on(queues.iter().filter_map(|queue| self.held(*queue)).collect());
        let mut states = self.link.states();
        loop {
            // Registered before the look: what comes in between is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            states.mark_unchanged();
            self.link.session().await?;
            if waiting.0.iter().any(|held| !held.is_empty()) {
                return Ok(());
            }
            for held in &waiting.0 {
                held.wanted.notify_one();
            }
            tokio::select! {
                () = changed => {}
                // An error means that the link is gone, which the next look tells.
                _ = states.changed() => {}
            }
        }
    }

    /// Pulls for those who wait, until the end.
    pub(crate) async fn poll(self: Arc<Self>, queue: Queue) {
        let Some(held) = self.held(queue) else { return };
        loop {
            tokio::select! {
                () = held.wanted.notified() => {}
                () = self.link.closed() => return,
            }
            while held.is_wanted() && held.is_empty() {
                match self.link.session().await {
                    Ok(session) => self.poll_once(queue, session).await,
                    Err(BrokerError::Closed) => return,
                    // Those who wait are told by themselves, and come again.
                    Err(_) => break,
                }
            }
        }
    }

    async fn poll_once(self: &Arc<Self>, queue: Queue, session: Session) {
        let Ok(mut pulling) = Pulling::begin(self, queue, session, 1, Some(POLL)).await else {
            return tokio::time::sleep(REFUSED_PAUSE).await;
        };
        let arrival = tokio::select! {
            arrival = pulling.next() => arrival,
            // Dropped, it is listened to: the server may still answer it.
            () = self.link.over(session) => return,
            () = tokio::time::sleep(POLL + POLL_SLACK) => {
                // Its error is a doubt, which those who wait hear of.
                let _ = self.link.probe(session).await;
                return;
            }
        };
        match arrival {
            Arrival::Message(message) => {
                if let Some(message) = self.answers.delivery(queue.lane, session, message) {
                    self.keep(queue, message);
                }
            }
            Arrival::Ended => {}
            Arrival::Gone(why) => self.link.doubt(session, &why),
            Arrival::Refused(why) => {
                debug!(%queue, why, "a waiting pull is refused");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
            Arrival::Closed => tokio::time::sleep(REFUSED_PAUSE).await,
        }
        pulling.end();
    }
}
