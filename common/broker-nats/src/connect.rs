//! Making the connection, and hearing what becomes of it.
//!
//! Invariant: whatever the client tells of a lost or new connection takes the link down before anything
//! else is sent over it, as far as the client tells in time. Called by the link.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::link::State;
use crate::options::{Address, Login, OpenError, Options};

/// Longest pause between two tries to connect, so that work flows soon after a server is back.
const RECONNECT_MAX: Duration = Duration::from_millis(1_000);

/// What the client's events say; exists before the connection does.
pub(crate) struct Signals {
    pub(crate) state: watch::Sender<State>,
    /// Wakes the supervisor.
    pub(crate) nudge: Notify,
    /// Connections lost and won; a check that spans a change proves nothing.
    pub(crate) changes: AtomicU64,
    /// The last error that the client or server reported.
    pub(crate) trouble: Mutex<Option<String>>,
    /// Whether the connection of `open` has been heard of.
    was_connected: AtomicBool,
}

impl Signals {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: watch::Sender::new(State::Down("not connected yet".into())),
            nudge: Notify::new(),
            changes: AtomicU64::new(0),
            trouble: Mutex::new(None),
            was_connected: AtomicBool::new(false),
        })
    }

    /// Takes the link down, unless it is closed.
    pub(crate) fn down(&self, why: String) {
        self.state.send_if_modified(|state| {
            let is_open = !matches!(state, State::Closed);
            if is_open {
                *state = State::Down(why);
            }
            is_open
        });
    }
}

/// The client, connected for the first time; it connects again by itself for ever.
pub(crate) async fn connect(
    address: Address,
    options: &Options,
    signals: &Arc<Signals>,
) -> Result<Client, OpenError> {
    let connect = connect_options(&address.login, options, signals).await?;
    let location = address.location;
    match tokio::time::timeout(options.connect_timeout, connect.connect(address.servers)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) if error.kind() == ConnectErrorKind::AuthorizationViolation => {
            Err(OpenError::Denied { location })
        }
        Ok(Err(error)) => Err(OpenError::Unreachable { location, reason: error.to_string() }),
        Err(_) => {
            let reason = format!("no answer within {} ms", options.connect_timeout.as_millis());
            Err(OpenError::Unreachable { location, reason })
        }
    }
}

async fn connect_options(
    login: &Login,
    options: &Options,
    signals: &Arc<Signals>,
) -> Result<ConnectOptions, OpenError> {
    let mut connect = ConnectOptions::new()
        .name(&options.name)
        .custom_inbox_prefix(&options.inbox_prefix)
        .connection_timeout(options.connect_timeout)
        .ping_interval(options.ping_interval)
        .reconnect_delay_callback(reconnect_delay)
        // Every subject is made here of parts that are narrow already.
        .skip_subject_validation(true);
    connect = match login {
        Login::None => connect,
        Login::Token(token) => connect.token(token.clone()),
        Login::User { name, password } => connect.user_and_password(name.clone(), password.clone()),
    };
    if let Some(path) = &options.credentials {
        connect = connect.credentials_file(path).await.map_err(|error| OpenError::Credentials {
            path: path.clone(),
            // The text of a parser's error may hold a part of the file.
            reason: error.kind().to_string(),
        })?;
    }
    if let Some(path) = &options.authorities {
        connect = connect.add_root_certificates(path.clone());
    }
    let signals = Arc::clone(signals);
    Ok(connect.event_callback(move |event| {
        hear(&signals, &event);
        std::future::ready(())
    }))
}

/// At once the first time, then doubling, with jitter: all clients lose a server at the same moment.
fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
    let longest = Duration::from_millis(10 << doublings).min(RECONNECT_MAX);
    longest.mul_f64(rand::random_range(0.5..1.0))
}

/// Called by the client in the order of its events.
fn hear(signals: &Signals, event: &Event) {
    let down = |why: &str| {
        signals.changes.fetch_add(1, Ordering::SeqCst);
        signals.down(why.into());
        signals.nudge.notify_one();
    };
    match event {
        Event::Connected => {
            *signals.trouble.lock() = None;
            // The first one comes while `open` looks, or after it.
            if signals.was_connected.swap(true, Ordering::SeqCst) {
                down("connected anew, and the stream is looked at");
            }
        }
        Event::Disconnected => {
            warn!("the connection to NATS is lost");
            down("the connection is lost");
        }
        Event::Closed => down("the client has ended"),
        Event::ServerError(error) => *signals.trouble.lock() = Some(error.to_string()),
        Event::ClientError(error) => *signals.trouble.lock() = Some(error.to_string()),
        Event::SlowConsumer(subscription) => {
            warn!(subscription, "messages were dropped: this process does not keep up with NATS");
        }
        Event::LameDuckMode => info!("the NATS server is about to stop"),
        Event::Draining => {}
    }
}
