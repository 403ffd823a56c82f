//! Settings, limits and the errors of opening. Each says what goes wrong when it is too high or too low.

use std::time::Duration;

/// Settings of a [`RabbitBroker`](crate::RabbitBroker).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// First word of every exchange and queue: `bul.jobs`, `bul.jobs.high`, `bul.events`.
    pub prefix: String,
    /// What this process is called on the server's list of connections.
    pub name: String,
    /// Partitions of each lane, 1 to [`bul_job::PARTITIONS_MAX`], so that jobs whose prompts begin alike can go to one worker. A
    /// process serves those that others have made beyond. Too many: four queues and as many channels for each.
    pub partitions: u8,
    /// Jobs of one tenant, lane and partition that are published together and travel as one message, at most; 0 or 1 for none.
    /// Versions that know no bundles leave them to newer ones. Too high: a worker with few slots has more in hand than it begins.
    pub bundle_max: usize,
    /// Messages of one queue in this process at once: in its buffer, in workers' hands and in a delay.
    /// Too low (below the worker's slots): slots stay empty, and each ack waits for a round trip.
    /// Too high: messages lie here while other workers idle, until [`HOARD_MAX`] gives them back.
    pub prefetch: u16,
    /// How long a worker may hold a message without a sign of life before another gets it. Kept by
    /// this process; if the process dies, its connection closes and the server requeues at once.
    pub ack_wait: Duration,
    /// How long a worker may hold a message at all, signs of life or not. Must stay below the
    /// server's `consumer_timeout` (30 minutes unless configured): at that limit the server closes
    /// the channel, and every message of the lane in this process is handed to others. May be below the
    /// longest attempt: the job's lease counts, and whoever gets the message finds it running.
    pub hold_max: Duration,
    /// After this long without an answer of the server a call ends as unavailable. Too low: a busy
    /// disk looks like an outage. Too high: callers hang on a dead network.
    pub call_timeout: Duration,
    /// Two of these without a sign of the server, and the connection is rebuilt. Whole seconds.
    /// Too low: a pause of a busy machine costs a reconnect and redeliveries.
    pub heartbeat: Duration,
    /// Confirmed publications remembered, so that a second one by this process is dropped; also
    /// bounded by [`RECENT_FOR`]. The server itself drops none.
    pub recent_max: usize,
    /// Events waiting to be sent, and on the server per listener, before the oldest are dropped.
    pub events_max: u32,
    /// How often a lane that delivers nothing is compared with its depth on the server.
    pub watchdog: Duration,
    /// Certificates (PEM) to trust beside the system's, for `amqps`.
    pub trusted: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "bul".into(),
            name: "bul".into(),
            partitions: 1,
            bundle_max: 1,
            prefetch: 256,
            ack_wait: Duration::from_secs(60),
            hold_max: Duration::from_secs(25 * 60),
            call_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
            recent_max: 65_536,
            events_max: 4_096,
            watchdog: Duration::from_secs(5),
            trusted: None,
        }
    }
}

/// After this long without anyone asking for a queue, its messages that wait here go back to the
/// server: a worker whose slots are all busy must not hide work from one that idles.
pub const HOARD_MAX: Duration = Duration::from_secs(1);
/// How long a publication is remembered. Longer, and what was lost by a purge could not be published
/// again by the same process; shorter, and a dispatcher's second try is delivered twice.
pub const RECENT_FOR: Duration = Duration::from_secs(120);
/// Longest delay of a nack; longer waits belong to the store.
pub const NACK_DELAY_MAX: Duration = Duration::from_secs(300);

/// Messages of a queue of a divided lane in this process at first; more whenever its workers have taken them all and ask
/// for more. Who is idle elsewhere helps out with what lies on the server, and cannot with what lies here.
pub(crate) const PREFETCH_FIRST: u16 = 4;
/// The same for an undivided lane, of which more workers are consumers.
pub(crate) const PREFETCH_WHOLE: u16 = 8;
/// How many times as many messages may lie here once workers have taken them all and ask for more.
pub(crate) const PREFETCH_GROWTH: u16 = 4;
/// How long a fetch waits for the first message of a lane whose consumer it has just started.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(20);
/// Unconfirmed publications of one call.
pub(crate) const IN_FLIGHT_MAX: usize = 1_000;
/// Calls that publish at once; each has a channel of its own, since a return names no caller.
pub(crate) const PUBLISHERS_MAX: usize = 8;
/// Listeners to events at once; each has a channel and a queue of its own.
pub(crate) const LISTENERS_MAX: usize = 1_000;
/// Events on their way to one listener; what it has not read yet beyond that waits on the server.
pub(crate) const LISTENER_PREFETCH: u16 = 256;
/// First and longest pause between two tries to connect. The longest bounds how late work flows
/// after the server is back.
pub(crate) const RETRY_MIN: Duration = Duration::from_millis(50);
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(1);
/// How often the state of a connection is looked at.
pub(crate) const LINE_TICK: Duration = Duration::from_millis(100);

/// A broker that does not open. No message carries the password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is no AMQP address.
    #[error(
        "not an address of a RabbitMQ server: {0}; expected amqp://user:password@host:port/vhost, several joined by commas"
    )]
    Address(String),
    /// A setting that cannot work.
    #[error("{0}")]
    Options(String),
    /// Nobody answers there.
    #[error("cannot reach {location}: {reason}")]
    Unreachable {
        /// Where.
        location: String,
        /// Why.
        reason: String,
    },
    /// User, password or virtual host were refused.
    #[error("{location} refuses user {user:?}: {reason}")]
    Refused {
        /// Where.
        location: String,
        /// Who.
        user: String,
        /// What the server says.
        reason: String,
    },
    /// Exchanges and queues cannot be made or used.
    #[error("{location} does not let this program make or use what it needs: {reason}")]
    Topology {
        /// Where.
        location: String,
        /// Why.
        reason: String,
    },
}

impl OpenError {
    /// The error of several servers: that of one which answered and refused says more than that of one which did not.
    pub(crate) fn and(self, next: Self) -> Self {
        match (self, next) {
            (Self::Unreachable { location, reason }, Self::Unreachable { location: next, reason: why }) => {
                let reason = format!("{reason}; {next}: {why}");
                Self::Unreachable { location, reason }
            }
            (Self::Unreachable { .. }, refused) => refused,
            (
                refused
                @ (Self::Address(_) | Self::Options(_) | Self::Refused { .. } | Self::Topology { .. }),
                _,
            ) => refused,
        }
    }
}

impl Options {
    /// Refuses what cannot work before a connection is opened.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let bad = |text: &str| Err(OpenError::Options(text.into()));
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.prefix.is_empty() || self.prefix.len() > 100 || !self.prefix.chars().all(fits) {
            return bad("the prefix must be 1 to 100 letters, digits, '-', '_' or '.'");
        }
        if !(1..=bul_job::PARTITIONS_MAX).contains(&self.partitions) {
            return bad("the partitions must be 1 to 16");
        }
        if self.prefetch == 0 {
            return bad("a prefetch of 0 means no limit at all");
        }
        if self.call_timeout.is_zero() || self.ack_wait.is_zero() || self.watchdog.is_zero() {
            return bad("call_timeout, ack_wait and watchdog must be longer than nothing");
        }
        if self.heartbeat < Duration::from_secs(1) || self.heartbeat.as_secs() > u64::from(u16::MAX) {
            return bad("the heartbeat must be 1 to 65535 s");
        }
        Ok(())
    }
}
