//! Settings, the address, and what can go wrong when a broker is opened.
//!
//! Invariant: neither an error nor a debug print shows a password or token. Read by `NatsBroker::open`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;

/// Settings of a [`NatsBroker`](crate::NatsBroker).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// First part of every name on the server, so that installations may share one: stream `BUL_JOBS`,
    /// consumers `bul-<lane>`, subjects `bul.jobs.…` and `bul.events.…`. 1 to 32 of a-z, 0-9, `-` and `_`.
    pub prefix: String,
    /// How long a worker may hold a message without a sign of life before another gets it. Too low: a
    /// pause of a worker or a full machine makes jobs run twice at once. Too high: the jobs of a killed
    /// worker lie still for that long. Taken up when the consumers are made and at each opening.
    pub ack_wait: Duration,
    /// Messages of a lane in all workers' hands. Too low: workers idle although there is work, and
    /// messages returned with a delay, which count too, hold up ready ones. Too high: server memory.
    pub ack_pending_max: u64,
    /// How long the server remembers a publication. Too low: a publication repeated after an outage
    /// comes twice (the store's fence holds; work is fetched in vain). Too high: server memory, about
    /// 200 bytes for each publication of that time.
    pub duplicate_window: Duration,
    /// Messages held at once in all lanes; the server's limit when absent. Too low: back-pressure while
    /// workers idle. Too high or absent: a standstill of the workers fills the server's disk.
    pub messages_max: Option<u64>,
    /// Bytes held at once in all lanes; the server's limit when absent. The same for its disk.
    pub bytes_max: Option<u64>,
    /// Partitions of each lane, 1 to [`bul_job::PARTITIONS_MAX`], so that jobs whose prompts begin alike can go to one worker. A
    /// stream that has more keeps them, and they are served: what lies there must not be forgotten. Too many: an empty one
    /// costs a worker a request for each look. The same for all processes; raise it for workers before producers.
    pub partitions: u8,
    /// Jobs of one tenant, lane and partition that are published together and travel as one message, at most; 0 or 1 for none.
    /// Versions that know no bundles leave them to newer ones. Too high: a worker with few slots has more in hand than it begins.
    pub bundle_max: usize,
    /// Copies of a new stream in a cluster: 1, 3 or 5. With 1 the loss of a node stops the lanes.
    pub replicas: u32,
    /// JetStream domain, for a server behind a leaf node.
    pub domain: Option<String>,
    /// First part of reply subjects; set it where the account may not subscribe to `_INBOX.>`.
    pub inbox_prefix: String,
    /// File with a user's JWT and seed (`.creds`).
    pub credentials: Option<PathBuf>,
    /// PEM file of authorities to trust instead of the system's.
    pub authorities: Option<PathBuf>,
    /// Name of the connection in the server's reports.
    pub name: String,
    /// Wait for a connection at opening, and for JetStream to be ready.
    pub connect_timeout: Duration,
    /// Wait for the connection, and again for an answer, before a call fails as unavailable. Too low: a
    /// busy server counts as lost, and publications are repeated. Too high: an outage is told late.
    pub request_timeout: Duration,
    /// How often the connection is tried when it is silent; after three tries without an answer it is
    /// built anew. Too high: a peer that vanished without a word is noticed late.
    pub ping_interval: Duration,
    /// Publications sent and not confirmed yet, by all callers. Too low: each waits for a round trip.
    /// Too high: a slow disk makes all of them miss `request_timeout`.
    pub in_flight_max: usize,
    /// Events kept for a slow server or listener before the oldest is lost.
    pub events_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "bul".into(),
            ack_wait: Duration::from_secs(30),
            ack_pending_max: 20_000,
            duplicate_window: Duration::from_secs(120),
            messages_max: None,
            bytes_max: None,
            partitions: 1,
            bundle_max: 1,
            replicas: 1,
            domain: None,
            inbox_prefix: "_INBOX".into(),
            credentials: None,
            authorities: None,
            name: "bul".into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            in_flight_max: 4_096,
            events_max: 4_096,
        }
    }
}

/// A broker that does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not an address of a NATS server.
    #[error(
        "not a NATS address, expected nats://host:port or tls://host:port, several joined by commas: {0}"
    )]
    Address(String),
    /// A prefix that would make names collide.
    #[error("the prefix must be 1 to 32 of a-z, 0-9, '-' and '_': {0:?}")]
    Prefix(String),
    /// The `.creds` file.
    #[error("the credentials file {} is not read: {reason}", path.display())]
    Credentials {
        /// File.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No connection.
    #[error("no connection to NATS at {location}: {reason}")]
    Unreachable {
        /// Where, without credentials.
        location: String,
        /// Why.
        reason: String,
    },
    /// It does not know us.
    #[error("NATS at {location} refuses these credentials")]
    Denied {
        /// Where, without credentials.
        location: String,
    },
    /// It keeps no streams, or the account may not use them.
    #[error(
        "JetStream does not answer at {location}: {reason}; it is switched on by `jetstream {{}}` in the server's configuration"
    )]
    JetStream {
        /// Where, without credentials.
        location: String,
        /// Why.
        reason: String,
    },
    /// A stream or consumer of our name is something else.
    #[error("{0}; remove it, or choose another prefix")]
    Incompatible(String),
}

/// Servers, and the user that the address names.
pub(crate) struct Address {
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) login: Login,
    /// Without credentials.
    pub(crate) location: String,
}

/// What an address says about the user.
#[derive(PartialEq, Eq)]
pub(crate) enum Login {
    None,
    Token(String),
    User { name: String, password: String },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(…)",
            Self::User { .. } => "User(…)",
        })
    }
}

impl Address {
    /// Reads `nats://user:password@host:port,…`; a user without a password is a token.
    pub(crate) fn parse(text: &str) -> Result<Self, OpenError> {
        let mut servers = Vec::new();
        let mut places = Vec::new();
        let mut login = Login::None;
        for part in text.split(',').map(str::trim) {
            let bare = without_login(part);
            // The text of a parser's error may hold what was given to it.
            let server: ServerAddr = part.parse().map_err(|_| OpenError::Address(bare.clone()))?;
            if server.host().is_empty() || server.is_websocket() {
                return Err(OpenError::Address(bare));
            }
            if let (Login::None, Some(name)) = (&login, server.username()) {
                login = match server.password() {
                    Some(password) => Login::User { name: decoded(name), password: decoded(password) },
                    None => Login::Token(decoded(name)),
                };
            }
            let place = format!("{}://{}:{}", server.scheme(), server.host(), server.port());
            places.push(place.clone());
            servers.push(place.parse().map_err(|_| OpenError::Address(bare))?);
        }
        Ok(Self { servers, login, location: places.join(",") })
    }
}

/// Cuts everything before the last `@`, which is where a login ends.
fn without_login(part: &str) -> String {
    let scheme = part.find("://").map_or("", |at| &part[..at + 3]);
    let rest = &part[scheme.len()..];
    let host = rest.rfind('@').map_or(rest, |at| &rest[at + 1..]);
    format!("{scheme}{host}")
}

/// Undoes `%40` and the like; what is no such sequence stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.filter(|_| byte == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_servers_and_user() {
        let user = |name: &str, password: &str| Login::User { name: name.into(), password: password.into() };
        for (text, location, login) in [
            ("nats://h:4222", "nats://h:4222", Login::None),
            ("nats://h", "nats://h:4222", Login::None),
            ("h:1", "nats://h:1", Login::None),
            ("nats://u:p@h:1", "nats://h:1", user("u", "p")),
            ("nats://u:p%40%2F@h:1", "nats://h:1", user("u", "p@/")),
            ("nats://token@h:1", "nats://h:1", Login::Token("token".into())),
            ("tls://u:p@a:1, tls://u:p@b:2", "tls://a:1,tls://b:2", user("u", "p")),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.location.as_str(), &address.login), (location, &login), "{text}");
            assert!(address.servers.iter().all(|server| server.username().is_none()));
        }
    }

    #[test]
    fn a_bad_address_shows_no_secret() {
        for text in [
            "http://u:secret@h:1",
            "nats://u:secret@",
            "nats://u:secret@h:port",
            "ws://u:secret@h",
            "nats://u:sec@ret@h:x",
        ] {
            let error = Address::parse(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(!error.to_string().contains("sec"), "{error}");
        }
        let login = Login::User { name: "u".into(), password: "secret".into() };
        assert!(!format!("{login:?}").contains("secret"));
    }
}
