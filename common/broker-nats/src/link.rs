//! The connection and whether it can be trusted.
//!
//! Invariant: nothing is sent to the server unless the link is up, that is: connected, and the stream
//! and consumers seen there since. So an outage ends calls in time, no requests pile up that would all
//! be answered at its end, and no ack of an older stream reaches a younger one. The supervisor takes the
//! link up; a lost connection, a missing stream or a silent server (`doubt`) take it down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State as ConnectionState;
use bul_broker::BrokerError;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::api::ApiError;
use crate::connect::{Signals, connect};
use crate::options::{Address, OpenError, Options};
use crate::topology::{self, Mode};
use crate::wire::Names;

/// First and longest pause between two tries to take the link up.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(1_000);
/// One time of being up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// Counts the times; requests of an older one are not answered any more.
    pub(crate) number: u64,
    /// Counts the server's losses of data; an ack of an older one would hit another message.
    pub(crate) epoch: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Why.
    Down(String),
    Up(Session),
    Closed,
}

impl State {
    fn answer(&self) -> Result<Session, BrokerError> {
        match self {
            Self::Up(session) => Ok(*session),
            Self::Down(why) => Err(BrokerError::Unavailable(why.clone())),
            Self::Closed => Err(BrokerError::Closed),
        }
    }
}

/// See the module.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) names: Names,
    /// Without credentials.
    pub(crate) location: String,
    signals: Arc<Signals>,
    found: Mutex<Found>,
    /// The highest place in the stream that was confirmed to this process.
    confirmed: AtomicU64,
    data: Mutex<Data>,
}

/// The stream that `confirmed` belongs to.
#[derive(Default)]
struct Data {
    created: String,
    /// Where it ended when its end was found to be missing.
    lost_after: Option<u64>,
}

/// What was last found on the server.
#[derive(Debug, Default, Clone)]
struct Found {
    epoch: u64,
    incarnation: String,
    ack_wait: Duration,
    partitions: u8,
    notes: Vec<String>,
}

impl Link {
    /// Connects, and sees to stream and consumers.
    pub(crate) async fn open(
        address: Address,
        options: Options,
        names: Names,
    ) -> Result<Arc<Self>, OpenError> {
        let signals = Signals::new();
        let location = address.location.clone();
        let client = connect(address, &options, &signals).await?;
        let link = Arc::new(Self {
            client,
            options,
            names,
            location,
            signals,
            found: Mutex::default(),
            confirmed: AtomicU64::new(0),
            data: Mutex::default(),
        });
        link.first_look().await?;
        tokio::spawn(supervise(Arc::clone(&link)));
        Ok(link)
    }

    /// JetStream needs a moment after the server's start.
    async fn first_look(&self) -> Result<(), OpenError> {
        let look = async {
            loop {
                match topology::ensure(self, Mode::Open).await {
                    Ok(found) => {
                        self.take_up(found);
                        return Ok(());
                    }
                    Err(topology::Error::Incompatible(what)) => return Err(OpenError::Incompatible(what)),
                    Err(topology::Error::Api(error)) => {
                        *self.signals.trouble.lock() = Some(error.to_string())
                    }
                }
                tokio::time::sleep(RETRY_MIN).await;
            }
        };
        match tokio::time::timeout(self.options.connect_timeout, look).await {
            Ok(result) => result,
            Err(_) => {
                let reason = self.signals.trouble.lock().clone().unwrap_or_else(|| "no answer".into());
                Err(OpenError::JetStream { location: self.location.clone(), reason })
            }
        }
    }

    /// The session, once there is one; an error when there is none for as long as a request may take.
    pub(crate) async fn session(&self) -> Result<Session, BrokerError> {
        if let Ok(session) = self.session_now() {
            return Ok(session);
        }
        let mut state = self.signals.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Down(_)));
        match tokio::time::timeout(self.options.request_timeout, settled).await {
            Ok(Ok(state)) => state.answer(),
            Ok(Err(_)) => Err(BrokerError::Closed),
            Err(_) => self.session_now(),
        }
    }

    /// The session, without waiting.
    pub(crate) fn session_now(&self) -> Result<Session, BrokerError> {
        self.signals.state.borrow().answer()
    }

    /// Follows the state.
    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.signals.state.subscribe()
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.signals.state.borrow(), State::Closed)
    }

    /// Returns when the link is closed for good.
    pub(crate) async fn closed(&self) {
        // An error means that the sender is gone, which lives as long as this.
        let _ = self.states().wait_for(|state| matches!(state, State::Closed)).await;
    }

    /// Returns when this session is not the current one any more.
    pub(crate) async fn over(&self, session: Session) {
        let is_over = |state: &State| !matches!(state, State::Up(up) if up.number == session.number);
        let _ = self.states().wait_for(is_over).await;
    }

    /// Ends everything that waits.
    pub(crate) fn close(&self) {
        self.signals.state.send_replace(State::Closed);
        self.signals.nudge.notify_one();
    }

    /// Takes the link down and has it looked at, unless that has happened since `session`.
    pub(crate) fn doubt(&self, session: Session, why: &str) {
        let went_down = self.signals.state.send_if_modified(|state| {
            let is_this = matches!(state, State::Up(up) if up.number == session.number);
            if is_this {
                *state = State::Down(self.reason(why));
            }
            is_this
        });
        if went_down {
            warn!(location = self.location, why, "NATS is in doubt");
            self.signals.nudge.notify_one();
        }
    }

    /// Whether the server answers at all; when not, the link is in doubt.
    pub(crate) async fn probe(&self, session: Session) -> Result<(), BrokerError> {
        let endpoint = format!("STREAM.INFO.{}", self.names.stream);
        let answer = tokio::select! {
            answer = self.api(&endpoint, Bytes::new()) => answer,
            () = self.over(session) => Err(ApiError::Silent("the connection was lost".into())),
        };
        match answer {
            Ok(_) => Ok(()),
            Err(error) => {
                self.doubt(session, &error.to_string());
                Err(self.unavailable(&error.to_string()))
            }
        }
    }

    /// Sends without waiting for an answer; an error when the connection takes nothing in.
    pub(crate) async fn send(
        &self,
        session: Session,
        sending: impl Future<Output = Result<(), async_nats::PublishError>>,
    ) -> Result<(), BrokerError> {
        let limit = self.options.request_timeout;
        match tokio::time::timeout(limit, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.unavailable(&error.to_string())),
            Err(_) => {
                let why = format!("the connection takes nothing in for {} ms", limit.as_millis());
                self.doubt(session, &why);
                Err(self.unavailable(&why))
            }
        }
    }

    pub(crate) fn unavailable(&self, why: &str) -> BrokerError {
        BrokerError::Unavailable(self.reason(why))
    }

    fn reason(&self, why: &str) -> String {
        match &*self.signals.trouble.lock() {
            Some(trouble) => format!("NATS at {}: {why} ({trouble})", self.location),
            None => format!("NATS at {}: {why}", self.location),
        }
    }

    /// How long the server waits for an answer to a delivery.
    pub(crate) fn ack_wait(&self) -> Duration {
        self.found.lock().ack_wait
    }

    /// Partitions of each lane on the server.
    pub(crate) fn partitions(&self) -> u8 {
        self.found.lock().partitions.max(1)
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.found.lock().notes.clone()
    }

    /// Takes note of a message's place in the stream.
    pub(crate) fn confirm(&self, place: u64) {
        self.confirmed.fetch_max(place, Ordering::AcqRel);
    }

    /// What [`Self::lost_after`] compares with; to be read before the stream is asked.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Whether the end of the stream is missing, and since where: a power cut takes what was not synced,
    /// and the stream's time of creation stays the same.
    pub(crate) fn lost_after(&self, created: &str, confirmed: u64, last: u64) -> Option<u64> {
        let mut data = self.data.lock();
        if data.created != created {
            *data = Data { created: created.into(), lost_after: None };
            self.confirmed.store(last, Ordering::Release);
        } else if last < confirmed
            // Unless a message was confirmed meanwhile, which is looked at the next time.
            && self.confirmed.compare_exchange(confirmed, last, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            data.lost_after = Some(last);
        }
        data.lost_after
    }

    fn take_up(&self, found: topology::Found) {
        let epoch = self.remember(found);
        *self.signals.trouble.lock() = None;
        self.signals.state.send_if_modified(|state| {
            if matches!(state, State::Closed) {
                return false;
            }
            *state =
                State::Up(Session { number: self.signals.changes.fetch_add(1, Ordering::SeqCst), epoch });
            true
        });
    }

    fn remember(&self, new: topology::Found) -> u64 {
        let mut found = self.found.lock();
        if found.incarnation != new.incarnation {
            if !found.incarnation.is_empty() {
                warn!(before = found.incarnation, now = new.incarnation, "NATS has lost its data");
            }
            found.epoch += 1;
        }
        let epoch = found.epoch;
        let notes = if new.notes.is_empty() { std::mem::take(&mut found.notes) } else { new.notes };
        let topology::Found { incarnation, ack_wait, partitions, .. } = new;
        *found = Found { epoch, incarnation, ack_wait, partitions, notes };
        epoch
    }

    /// The server's data as it is now; a change takes the link down, so that every delivery of before is void.
    pub(crate) async fn incarnation(&self) -> Result<String, BrokerError> {
        let session = self.session().await?;
        match topology::incarnation(self).await {
            Ok(now) => {
                if now != self.found.lock().incarnation {
                    self.doubt(session, "another stream stands in the place of ours");
                }
                Ok(now)
            }
            Err(ApiError::Refused { description, .. }) => {
                self.doubt(session, &description);
                self.session().await?;
                Ok(self.found.lock().incarnation.clone())
            }
            Err(error) => {
                self.doubt(session, &error.to_string());
                Err(self.unavailable(&error.to_string()))
            }
        }
    }
}

/// Takes the link up whenever it may be possible, until it is closed.
async fn supervise(link: Arc<Link>) {
    loop {
        link.signals.nudge.notified().await;
        let mut pause = RETRY_MIN;
        loop {
            if link.is_closed() {
                return;
            }
            let changes = link.signals.changes.load(Ordering::SeqCst);
            let looked = tokio::select! {
                looked = look(&link) => looked,
                // What was asked over the connection of before is never answered.
                () = link.signals.nudge.notified() => continue,
            };
            match looked {
                Ok(found) if changes == link.signals.changes.load(Ordering::SeqCst) => {
                    link.take_up(found);
                    info!(location = link.location, "NATS is up");
                    break;
                }
                Ok(_) => {}
                Err(error) => link.signals.down(link.reason(&error.to_string())),
            }
            // A new connection ends the pause; the lost one of before does not come back sooner.
            let jitter = rand::random_range(0.5..1.0);
            let _ = tokio::time::timeout(pause.mul_f64(jitter), link.signals.nudge.notified()).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}

async fn look(link: &Link) -> Result<topology::Found, topology::Error> {
    if link.client.connection_state() != ConnectionState::Connected {
        return Err(topology::Error::Api(ApiError::Silent("not connected".into())));
    }
    topology::ensure(link, Mode::Heal).await
}
