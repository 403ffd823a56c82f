//! The servers of the URL, of which one takes writes: a primary and its standbys.
//!
//! Invariant: a connection is handed out only to a server that takes writes, and only the one that was found last counts:
//! whoever keeps a connection to another closes it. So a failover is followed without a restart, and a standby, or a
//! primary that has become one, is neither written to nor read from. Used by `open` and `connect`.

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bul_store::StoreError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::fault::{Fault, unanswered};
use crate::open::OpenError;

/// Most servers of one URL: each that does not answer costs a connection's time.
const SERVERS_MAX: usize = 16;
/// Parameters of the URL that are understood. The library underneath logs others with their values,
/// and a mistyped `password` must not end up there.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    SESSION_ATTRIBUTES,
];
/// Which servers are wanted, as libpq has it. Here it says what is done anyway.
const SESSION_ATTRIBUTES: &str = "target_session_attrs";
/// Parameters that may list a value for each server.
const LISTS: [&str; 3] = ["host", "hostaddr", "port"];

/// Servers in the order of the URL, and which of them was the primary last.
pub(crate) struct Servers {
    all: Vec<PgConnectOptions>,
    current: AtomicUsize,
}

/// A connection, and the server it leads to.
pub(crate) struct Link {
    pub(crate) conn: PgConnection,
    pub(crate) server: usize,
}

impl Servers {
    /// Reads the URL. Its errors never quote it.
    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        let unusable = || OpenError::Url("user:password@host:port/database?parameters is expected".into());
        let all = each_server(url)?
            .iter()
            .map(|url| PgConnectOptions::from_str(url).map(ConnectOptions::disable_statement_logging))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unusable())?;
        Ok(Self { all, current: AtomicUsize::new(0) })
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn account(&self) -> &str {
        self.all[0].get_username()
    }

    pub(crate) fn database(&self) -> &str {
        self.all[0].get_database().unwrap_or(self.account())
    }

    /// Hosts, ports and database: what may be shown.
    pub(crate) fn location(&self) -> String {
        let places: Vec<String> = self.all.iter().map(place).collect();
        format!("postgres://{}/{}", places.join(","), self.database())
    }

    /// Whether a connection to this server is to be kept.
    pub(crate) fn is_current(&self, server: usize) -> bool {
        self.current.load(Ordering::Relaxed) == server
    }

    /// A connection to the server that takes writes; each may take `limit` to answer.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Link, Fault> {
        let first = self.current.load(Ordering::Relaxed);
        let mut failed = Vec::new();
        for n in 0..self.all.len() {
            let server = (first + n) % self.all.len();
            let connecting = tokio::time::timeout(limit, writable(&self.all[server]));
            match connecting.await.unwrap_or_else(|_| Err(unanswered("the connection"))) {
                Ok(conn) => {
                    if server != first {
                        self.current.store(server, Ordering::Relaxed);
                        tracing::warn!(
                            store.location = place(&self.all[server]),
                            "another server takes the writes now"
                        );
                    }
                    return Ok(Link { conn, server });
                }
                Err(fault) => failed.push((server, fault)),
            }
        }
        if self.all.len() == 1
            && let Some((_, fault)) = failed.pop()
        {
            return Err(fault);
        }
        let why = |(server, fault): (usize, Fault)| {
            let text = match StoreError::from(fault) {
                StoreError::Unavailable(text) => text,
                other => other.to_string(),
            };
            format!("{}: {text}", place(&self.all[server]))
        };
        let reasons: Vec<String> = failed.into_iter().map(why).collect();
        Err(StoreError::Unavailable(format!("no server takes writes; {}", reasons.join("; "))).into())
    }
}

async fn writable(options: &PgConnectOptions) -> Result<PgConnection, Fault> {
    let mut conn = options.connect().await?;
    let refuses: bool = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::bool")
        .persistent(false)
        .fetch_one(&mut conn)
        .await?;
    if refuses {
        let _ = conn.close().await;
        return Err(
            StoreError::Unavailable("it takes no writes: a standby, or set to read only".into()).into()
        );
    }
    Ok(conn)
}

/// Host and port, or the folder of the socket.
fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// The URL as one for each server: `postgres://user@a:1,b:2/db?…`, or `…?host=a,b&port=1,2`.
fn each_server(url: &str) -> Result<Vec<String>, OpenError> {
    let refused = |text: &str| OpenError::Url(text.into());
    let scheme = ["postgres://", "postgresql://"].into_iter().find(|scheme| url.starts_with(scheme));
    let scheme = scheme.ok_or_else(|| refused("it begins with postgres://"))?;
    let rest = &url[scheme.len()..];
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // A password may hold a comma; what follows the last '@' is hosts.
    let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") {
            return Err(OpenError::Url(format!("unknown parameter {name:?}")));
        }
        match (name, value) {
            (SESSION_ATTRIBUTES, "read-write" | "primary") => {}
            (SESSION_ATTRIBUTES, _) => {
                return Err(refused("target_session_attrs: read-write or primary, since jobs are written"));
            }
            _ => parameters.push((name, value)),
        }
    }
    let listed = |name: &str, value: &str| if LISTS.contains(&name) { value.split(',').count() } else { 1 };
    let count = parameters.iter().map(|(name, value)| listed(name, value)).fold(hosts.len(), usize::max);
    if count > SERVERS_MAX {
        return Err(OpenError::Url(format!("at most {SERVERS_MAX} servers")));
    }
    // One value serves for all; otherwise there is one for each.
    let nth = |values: &[&str], n: usize| match values {
        [one] => Some((*one).to_owned()),
        many => many.get(n).filter(|_| many.len() == count).map(ToString::to_string),
    };
    let uneven = || refused("host, hostaddr and port must name one value, or one for each server");
    let mut urls = Vec::new();
    for n in 0..count {
        let host = nth(&hosts, n).ok_or_else(uneven)?;
        if hosts.len() > 1 && host.is_empty() {
            return Err(refused("a host is missing between two commas"));
        }
        let mut url = format!("{scheme}{login}{host}{database}");
        for (at, (name, value)) in parameters.iter().enumerate() {
            let values: Vec<&str> =
                if LISTS.contains(name) { value.split(',').collect() } else { vec![value] };
            let value = nth(&values, n).ok_or_else(uneven)?;
            url.push_str(&format!("{}{name}={value}", if at == 0 { '?' } else { '&' }));
        }
        urls.push(url);
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: &str) {
        let shown = Servers::parse(url).map_or_else(|error| error.to_string(), |servers| servers.location());
        assert!(shown.contains(expected), "{url}: {shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_url_names_one_server_or_several_and_no_error_quotes_it() {
        check("postgres://app:s3cret@db.example:5433/bul?sslmode=require", "postgres://db.example:5433/bul");
        check("postgresql://app:s3cret@a,b:5433/bul", "postgres://a:5432,b:5433/bul");
        check(
            "postgres://app:s3,cret@a,b/bul?target_session_attrs=read-write",
            "postgres://a:5432,b:5432/bul",
        );
        check("postgres:///bul?user=app&host=a,b,c&port=1,2,3&password=s3cret", "postgres://a:1,b:2,c:3/bul");
        check(
            "postgres:///bul?user=app&host=a,b&port=7&target_session_attrs=primary",
            "postgres://a:7,b:7/bul",
        );
        check("postgres://app:s3cret@a,,b/bul", "a host is missing");
        check("postgres://app:s3cret@a,b/bul?port=1,2,3", "one for each server");
        check(
            "postgres://app:s3cret@a,b/bul?target_session_attrs=s3cret",
            "target_session_attrs: read-write",
        );
        check(&format!("postgres://app:s3cret@{}/bul", ["h"; 17].join(",")), "at most 16 servers");
        check("mysql://u:s3cret@h/d", "begins with postgres://");
        check("postgres://u:s3cret@h:port/d", "is expected");
        check("postgres://u@h/d?passwd=s3cret", "unknown parameter");
        check("s3cret", "begins with postgres://");
    }
}
