//! Where the server is and what it is: the address, its first words, and what follows from its version.
//!
//! Of a cluster several may be named; they are tried in turn, beginning with the last that answered. Before each connection the server is greeted on a socket of its own: lapin gives up no thread that
//! waits for the greeting of a frozen server, and does not tell the version. Called by `line`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use lapin::tcp::{AMQPUriTcpExt, OwnedTLSConfig};
use lapin::types::AMQPValue;
use lapin::types::parsing::parse_field_table;
use lapin::uri::{AMQPScheme, AMQPUri};

use crate::options::{OpenError, Options};

/// Most addresses; each that does not answer costs a call's time.
const PLACES_MAX: usize = 16;
/// Longest greeting that is read; RabbitMQ's has about 500 bytes.
const GREETING_MAX: usize = 64 * 1024;
/// "AMQP" and version 0-9-1.
const HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";

/// The servers of a cluster, in the order of the address.
pub(crate) struct Places {
    all: Vec<Place>,
    /// The one that answered last.
    current: AtomicUsize,
}

impl Places {
    /// Reads `amqp://user:password@host:port/vhost,amqp://…`.
    pub(crate) fn parse(urls: &str, options: &Options) -> Result<Self, OpenError> {
        let all: Vec<Place> =
            each_url(urls).into_iter().map(|url| Place::parse(url, options)).collect::<Result<_, _>>()?;
        if all.len() > PLACES_MAX {
            return Err(OpenError::Options(format!("at most {PLACES_MAX} addresses")));
        }
        Ok(Self { all, current: AtomicUsize::new(0) })
    }

    /// All addresses without user and password.
    pub(crate) fn location(&self) -> String {
        self.all.iter().map(Place::location).collect::<Vec<_>>().join(",")
    }

    /// All of them with their numbers, from the one that answered last on.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = (usize, &Place)> {
        let first = self.current.load(Ordering::Relaxed);
        (0..self.all.len()).map(move |n| (first + n) % self.all.len()).map(move |at| (at, &self.all[at]))
    }

    /// Notes that this one has answered.
    pub(crate) fn answered(&self, at: usize) {
        self.current.store(at, Ordering::Relaxed);
    }
}

/// Parts addresses at commas that an address follows: a password may hold others.
fn each_url(urls: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = urls;
    let starts =
        |text: &str| ["amqp://", "amqps://"].iter().any(|scheme| text.trim_start().starts_with(scheme));
    while let Some((at, _)) = rest.match_indices(',').find(|(at, _)| starts(&rest[at + 1..])) {
        parts.push(rest[..at].trim());
        rest = &rest[at + 1..];
    }
    parts.push(rest.trim());
    parts
}

/// An address, taken apart.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) uri: AMQPUri,
    pub(crate) trusted: Option<String>,
}

impl Place {
    pub(crate) fn parse(url: &str, options: &Options) -> Result<Self, OpenError> {
        if url.matches("://").count() != 1 {
            // Its tail would become the name of a virtual host, which is shown.
            return Err(OpenError::Address(without_credentials(url)));
        }
        // The parser's message may quote the address, and with it the password.
        let mut uri: AMQPUri = url.parse().map_err(|_| OpenError::Address(without_credentials(url)))?;
        if let Some(host) = ipv6_host(url) {
            // The parser takes an IPv6 address for none at all and falls back to localhost.
            uri.authority.host = host.into();
        }
        if uri.vhost.is_empty() && !url.contains('?') {
            uri.vhost = "/".into();
        }
        uri.query.heartbeat = Some(options.heartbeat.as_secs() as u16);
        uri.query.connection_timeout = Some(options.call_timeout.as_millis() as u64);
        Ok(Self { uri, trusted: options.trusted.clone() })
    }

    /// The address without user and password.
    pub(crate) fn location(&self) -> String {
        let (scheme, port) = match self.uri.scheme {
            AMQPScheme::AMQP => ("amqp", self.uri.authority.port),
            AMQPScheme::AMQPS => ("amqps", self.uri.authority.port),
        };
        let host = &self.uri.authority.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{scheme}://{host}:{port}/{}", self.uri.vhost.replace('/', "%2f"))
    }

    pub(crate) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    pub(crate) fn tls(&self) -> OwnedTLSConfig {
        OwnedTLSConfig { identity: None, cert_chain: self.trusted.clone() }
    }

    /// Connects, reads the server's first words and hangs up.
    pub(crate) async fn greet(&self, limit: Duration) -> Result<Server, String> {
        match tokio::time::timeout(limit, self.greeting()).await {
            Ok(Ok(server)) => Ok(server),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it does not answer within {} s", limit.as_secs_f32())),
        }
    }

    async fn greeting(&self) -> std::io::Result<Server> {
        let runtime = lapin::runtime::default_runtime().map_err(std::io::Error::other)?;
        let tls = self.tls();
        let mut stream = self.uri.connect_with_config_async(tls.as_ref(), &runtime).await?;
        stream.write_all(HEADER).await?;
        stream.flush().await?;
        let mut head = [0; 7];
        stream.read_exact(&mut head).await?;
        if &head[..4] == b"AMQP" {
            return Err(std::io::Error::other("the server speaks another version of AMQP"));
        }
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        if head[0] != 1 || size > GREETING_MAX {
            return Err(std::io::Error::other("the server does not speak AMQP"));
        }
        let mut body = vec![0; size];
        stream.read_exact(&mut body).await?;
        Server::from_greeting(&body)
            .ok_or_else(|| std::io::Error::other("the server's greeting is not AMQP's"))
    }
}

/// The host of `amqp://[::1]:5672/`.
fn ipv6_host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(host, _)| host)
}

/// What may be shown of an address that cannot be read.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
            format!("{scheme}://{rest}")
        }
        None => "it has no scheme".into(),
    }
}

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) product: String,
    pub(crate) version: String,
}

impl Server {
    /// Reads the properties out of the method `connection.start` (class 10, method 10).
    fn from_greeting(body: &[u8]) -> Option<Self> {
        let rest = body.strip_prefix(&[0, 10, 0, 10])?.get(2..)?;
        let (_, table) = parse_field_table(rest).ok()?;
        let text = |key: &str| match table.inner().get(key) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            _ => "unknown".into(),
        };
        Some(Self { product: text("product"), version: text("version") })
    }

    /// Major, minor, patch; zeros where the server says none.
    pub(crate) fn numbers(&self) -> (u32, u32, u32) {
        let mut numbers = self.version.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        (next(), next(), next())
    }

    /// Whether a quorum queue drops a message after a number of deliveries unless told otherwise, and
    /// knows `-1` for "never". Older servers have no limit and refuse a negative one.
    pub(crate) fn has_default_delivery_limit(&self) -> bool {
        self.product == "RabbitMQ" && self.numbers() >= (4, 0, 0)
    }

    /// What an operator should know about this version.
    pub(crate) fn notes(&self, options: &Options, partitions: u8) -> Vec<String> {
        let mut notes = Vec::new();
        if self.product != "RabbitMQ" {
            notes.push(format!("{} is not RabbitMQ: nothing here is tested on it", self.product));
            return notes;
        }
        if partitions > options.partitions {
            notes.push(format!(
                "the lanes have {partitions} partitions, more than are published to; they are served all the same"
            ));
        }
        let numbers = self.numbers();
        let scope = if numbers < (3, 12, 0) { "for the whole node" } else { "per queue or node" };
        notes.push(format!(
            "consumer_timeout (30 minutes unless configured, {scope}) must be longer than hold_max, {} s here: \
             at that limit the server closes a queue's channel and hands all its messages to others",
            options.hold_max.as_secs()
        ));
        notes.push(
            "second publications are dropped by the publishing process only; the store's fence counts".into(),
        );
        if numbers < (3, 10, 0) {
            notes.push("tested from 3.10 on; this server is older".into());
        }
        if numbers < (3, 13, 0) {
            notes.push("this series gets no fixes any more".into());
        }
        if self.has_default_delivery_limit() {
            notes.push(
                "queues are made with x-delivery-limit = -1; a queue made on 3.x keeps this version's default of 20 \
                 deliveries, after which a message is dropped, until it is made again"
                    .into(),
            );
            notes.push(
                "a message that another program publishes may have 16 MiB, unless max_message_size is set otherwise; \
                 the server closes the channel of who sends more, and no dead letter tells of it"
                    .into(),
            );
            notes.push(
                "after an upgrade from 3.x let every quorum queue reach machine version 4 before the feature flag \
                 rabbitmq_4.0.0 is enabled (rabbitmq-server issue 17504)"
                    .into(),
            );
        }
        if numbers < (4, 0, 7) {
            notes.push(
                "clusters: replicas of a quorum queue may diverge and lose messages (Ra before 2.15.2, \
                 rabbitmq-server pull 13326)"
                    .into(),
            );
        }
        if ((4, 1, 0)..(4, 1, 2)).contains(&numbers) {
            notes.push(
                "consumers of quorum queues may leak file handles (rabbitmq-server issue 14177)".into(),
            );
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: &str) {
        let places = Places::parse(url, &Options::default());
        let shown = places.map_or_else(|error| error.to_string(), |places| places.location());
        assert!(shown.starts_with(expected), "{url}: {shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn locations_carry_no_credentials() {
        check("amqp://u:secret@host/v", "amqp://host:5672/v");
        check("amqps://u:secret@host:99/%2f", "amqps://host:99/%2f");
        check("amqp://u:secret@127.0.0.1", "amqp://127.0.0.1:5672/%2f");
        check("amqp://u:secret@host/", "amqp://host:5672/%2f");
        check("amqp://u:secret@[::1]:7/v", "amqp://[::1]:7/v");
        check("amqp://u:secret@a/v,amqps://u:secret@b:7/v", "amqp://a:5672/v,amqps://b:7/v");
        check("amqp://u:sec,secret@a/v, amqp://u:sec,secret@b/v", "amqp://a:5672/v,amqp://b:5672/v");
        check("amqp://u:secret@a/v,http://u:secret@b/v", "not an address of a RabbitMQ server: amqp://b/v");
        check(&["amqp://u:secret@h"; 17].join(","), "at most 16 addresses");
        check("http://u:secret@host/", "not an address of a RabbitMQ server: http://host/");
        check("amqp://u:secret@host:port/", "not an address");
        check("secret", "not an address");
    }

    #[test]
    fn versions_are_read_and_compared() {
        let server = |version: &str| Server { product: "RabbitMQ".into(), version: version.into() };
        assert_eq!(server("3.10.8").numbers(), (3, 10, 8));
        assert_eq!(server("4.1.0-rc.1").numbers(), (4, 1, 0));
        assert_eq!(server("unknown").numbers(), (0, 0, 0));
        assert!(!server("3.13.7").has_default_delivery_limit());
        assert!(server("4.0.0").has_default_delivery_limit());
        let notes = server("4.1.1").notes(&Options::default(), 1).join("\n");
        assert!(
            notes.contains("14177")
                && notes.contains("x-delivery-limit")
                && notes.contains("max_message_size")
                && !notes.contains("13326"),
            "{notes}"
        );
    }

    #[test]
    fn a_greeting_that_is_none_is_refused() {
        for body in
            [&b""[..], b"\0\x0a\0\x0a", b"\0\x0a\0\x0b\0\x09\0\0\0\0", b"\0\x0a\0\x0a\0\x09\xff\xff\xff\xff"]
        {
            assert_eq!(Server::from_greeting(body), None);
        }
        let empty = Server::from_greeting(b"\0\x0a\0\x0a\0\x09\0\0\0\0").unwrap();
        assert_eq!(empty.product, "unknown");
    }
}
