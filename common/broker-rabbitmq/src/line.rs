//! A connection that is rebuilt for ever: greeting, connection, exchanges and queues.
//!
//! Invariant: whoever gets a connection to publish on finds the topology made, and the connection that
//! consumes never publishes: a server short of memory or disk stops reading from connections that have
//! published once, and acks must still reach it. lapin's own recovery is off: it replays what was, not
//! what is needed. Made by `lib`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bul_broker::BrokerError;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::options::{LINE_TICK, OpenError, RETRY_MAX, RETRY_MIN};
use crate::server::{Place, Places, Server};
use crate::topology::{self, Names};

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Jobs and events go out.
    Publishes,
    /// Jobs and events come in; depths are asked for. Nothing is ever published on it.
    Consumes,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Publishes => "publishes",
            Self::Consumes => "consumes",
        }
    }
}

#[derive(Clone)]
enum State {
    Up(Arc<Connection>),
    Down(String),
}

/// What a connection is made of.
pub(crate) struct Recipe {
    pub(crate) places: Places,
    pub(crate) name: String,
    pub(crate) names: Names,
    /// Partitions of each lane: those wanted, and those found beyond.
    pub(crate) partitions: AtomicU8,
    pub(crate) call_timeout: Duration,
    /// The last greeting.
    pub(crate) server: Mutex<Server>,
}

/// Called whenever a connection was made again.
pub(crate) type OnUp = Box<dyn Fn() + Send + Sync>;

/// A supervised connection.
pub(crate) struct Line {
    recipe: Arc<Recipe>,
    state: watch::Receiver<State>,
}

impl Recipe {
    /// Connects once, to the first server that lets it.
    pub(crate) async fn connect(&self, role: Role) -> Result<Connection, OpenError> {
        let mut failed: Option<OpenError> = None;
        for (at, place) in self.places.in_turn() {
            match self.connect_to(place, role).await {
                Ok(connection) => {
                    self.places.answered(at);
                    return Ok(connection);
                }
                Err(error) => {
                    failed = Some(match failed {
                        Some(before) => before.and(error),
                        None => error,
                    });
                }
            }
        }
        Err(failed.unwrap_or_else(|| OpenError::Options("there is no address".into())))
    }

    async fn connect_to(&self, place: &Place, role: Role) -> Result<Connection, OpenError> {
        let location = || place.location();
        let limit = self.call_timeout;
        let server = place
            .greet(limit)
            .await
            .map_err(|reason| OpenError::Unreachable { location: location(), reason })?;
        *self.server.lock() = server.clone();
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{} {}", self.name, role.as_str()).into())
            .with_client_property("product".into(), "bul".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        let uri: AMQPUri = place.uri.clone();
        let runtime = lapin::runtime::default_runtime()
            .map_err(|error| OpenError::Unreachable { location: location(), reason: error.to_string() })?;
        let connect = Connection::connect_uri_with_config(uri, properties, place.tls(), runtime);
        let connection = match tokio::time::timeout(limit, connect).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(refused(place, error)),
            Err(_) => {
                let reason = format!("it does not answer within {} s", limit.as_secs_f32());
                return Err(OpenError::Unreachable { location: location(), reason });
            }
        };
        if role == Role::Publishes {
            let wanted = (self.partitions(), limit);
            let made = topology::make(&connection, &self.names, &server, wanted).await.map_err(|error| {
                let (location, reason) = (location(), error.to_string());
                match error.is_refusal() {
                    true => OpenError::Topology { location, reason },
                    false => OpenError::Unreachable { location, reason },
                }
            })?;
            self.partitions.fetch_max(made.partitions, Ordering::SeqCst);
        }
        Ok(connection)
    }

    pub(crate) fn partitions(&self) -> u8 {
        self.partitions.load(Ordering::SeqCst)
    }
}

fn refused(place: &Place, error: lapin::Error) -> OpenError {
    let location = place.location();
    let refused = match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => *soft == AMQPSoftError::ACCESSREFUSED,
            AMQPErrorKind::Hard(hard) => *hard == AMQPHardError::NOTALLOWED,
        },
        _ => false,
    };
    let reason = match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        _ => error.to_string(),
    };
    match refused {
        true => OpenError::Refused { location, user: place.user().into(), reason },
        false => OpenError::Unreachable { location, reason },
    }
}

impl Line {
    /// Keeps `first` alive and replaces it when it ends, until `closed`.
    pub(crate) fn keep(
        recipe: Arc<Recipe>,
        role: Role,
        first: Connection,
        closed: CancellationToken,
        tasks: &TaskTracker,
        on_up: OnUp,
    ) -> Self {
        let (sender, state) = watch::channel(State::Up(Arc::new(first)));
        let supervised = Arc::clone(&recipe);
        tasks.spawn(async move {
            let kept = supervise(&supervised, role, &sender, on_up);
            tokio::select! {
                () = closed.cancelled() => {}
                () = kept => {}
            }
            let last = sender.send_replace(State::Down("closed".into()));
            if let State::Up(connection) = last {
                // The server requeues what is unanswered, here or when the socket closes.
                let _ = tokio::time::timeout(supervised.call_timeout, connection.close(200, "closed".into()))
                    .await;
            }
        });
        Self { recipe, state }
    }

    /// The connection, waiting up to the call timeout for one that works.
    pub(crate) async fn get(&self) -> Result<Arc<Connection>, BrokerError> {
        let mut state = self.state.clone();
        let up = async {
            loop {
                if let Some(connection) = working(&state.borrow_and_update()) {
                    return Some(connection);
                }
                state.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(self.recipe.call_timeout, up).await {
            Ok(Some(connection)) => Ok(connection),
            Ok(None) | Err(_) => Err(self.unavailable()),
        }
    }

    /// Whether there is a connection that works.
    pub(crate) fn is_up(&self) -> bool {
        working(&self.state.borrow()).is_some()
    }

    /// Whether the server refuses publications for want of memory or disk.
    pub(crate) fn is_blocked(&self) -> bool {
        working(&self.state.borrow()).is_some_and(|connection| connection.status().blocked())
    }

    /// Why there is none.
    pub(crate) fn unavailable(&self) -> BrokerError {
        let reason = match &*self.state.borrow() {
            State::Up(_) => "the connection was lost".into(),
            State::Down(reason) => reason.clone(),
        };
        BrokerError::Unavailable(reason)
    }
}

fn working(state: &State) -> Option<Arc<Connection>> {
    match state {
        State::Up(connection) if connection.status().connected() => Some(Arc::clone(connection)),
        State::Up(_) | State::Down(_) => None,
    }
}

async fn supervise(recipe: &Recipe, role: Role, state: &watch::Sender<State>, on_up: OnUp) {
    loop {
        let mut tick = tokio::time::interval(LINE_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while working(&state.borrow()).is_some() {
            tick.tick().await;
        }
        let location = recipe.places.location();
        warn!(broker.location = location, broker.line = role.as_str(), "the connection to RabbitMQ was lost");
        state.send_replace(State::Down(format!("{location}: the connection was lost")));
        // Without an end: a broker may be away for a night.
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(RETRY_MIN)
            .with_max_delay(RETRY_MAX)
            .without_max_times()
            .with_jitter()
            .build();
        let connection = loop {
            match recipe.connect(role).await {
                Ok(connection) => break connection,
                Err(error) => state.send_replace(State::Down(error.to_string())),
            };
            tokio::time::sleep(pauses.next().unwrap_or(RETRY_MAX)).await;
        };
        info!(broker.location = location, broker.line = role.as_str(), "connected to RabbitMQ again");
        on_up();
        state.send_replace(State::Up(Arc::new(connection)));
    }
}
