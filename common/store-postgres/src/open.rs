//! Opening: the URL, the schema, the roles, and what the server promises.

use std::str::FromStr;
use std::sync::Arc;

use bul_store::StoreError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::connect::{Door, Session};
use crate::fault::{Fault, Kind, unanswered};
use crate::migrate::{Place, migrate};
use crate::server::{Settings, notes};
use crate::time::Time;

/// How long the server may take to answer at all.
const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// Parameters of the URL that are understood. The library underneath logs others with their values,
/// and a mistyped `password` must not end up there.
const PARAMETERS: [&str; 17] = [
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
];

/// A store that cannot be opened. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL of a PostgreSQL database.
    #[error("not a usable URL of a PostgreSQL database: {0}")]
    Url(String),
    /// The server does not answer, is starting up, or refuses the connection for now.
    #[error("{location} cannot be reached: {source}")]
    Unreachable {
        /// Host, port and database.
        location: String,
        /// Why.
        source: StoreError,
    },
    /// The schema `bul` is another program's.
    #[error("{0} has a schema \"bul\" of another program")]
    Foreign(String),
    /// Written by a newer version of this program.
    #[error("{location} has schema version {found}, this program knows up to {known}: use a newer program")]
    TooNew {
        /// Host, port and database.
        location: String,
        /// Version of the schema.
        found: i32,
        /// Latest known version.
        known: i32,
    },
    /// The account may neither make the roles of the installation nor take those that are there.
    #[error("the account for {location} may not make its roles; an administrator has to run: {run}")]
    Roles {
        /// Host, port and database.
        location: String,
        /// SQL for the administrator.
        run: String,
    },
    /// The account lacks a right: to make a schema in the database, or to take the installation's roles.
    #[error("the account for {location} lacks a right: {message}")]
    Rights {
        /// Host, port and database.
        location: String,
        /// What the server said.
        message: String,
    },
    /// PostgreSQL refused.
    #[error("{location} cannot be opened: {source}")]
    Database {
        /// Host, port and database.
        location: String,
        /// Why.
        source: StoreError,
    },
}

pub(crate) struct Opened {
    pub(crate) door: Arc<Door>,
    pub(crate) location: String,
    pub(crate) version: String,
    pub(crate) durability: String,
    pub(crate) notes: Vec<String>,
}

/// Reads the URL. Its errors never quote it.
pub(crate) fn parse(url: &str) -> Result<PgConnectOptions, OpenError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(OpenError::Url("it begins with postgres://".into()));
    }
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") {
            return Err(OpenError::Url(format!("unknown parameter {name:?}")));
        }
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| OpenError::Url("user:password@host:port/database?parameters is expected".into()))?;
    Ok(options.disable_statement_logging())
}

/// Host, port and database: what may be shown.
fn location(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("postgres://{}/{database}", socket.display()),
        None => format!("postgres://{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

pub(crate) async fn open(options: PgConnectOptions, time: &Time) -> Result<Opened, OpenError> {
    let location = location(&options);
    let unreachable =
        |fault: Fault| OpenError::Unreachable { location: location.clone(), source: fault.into() };
    let connecting = tokio::time::timeout(ANSWER_MAX, options.connect());
    let connected = connecting.await.map_err(|_| unreachable(unanswered("the connection")))?;
    let database = options.get_database().unwrap_or(options.get_username()).to_owned();
    let account = options.get_username().to_owned();
    let place = Place { location: &location, account: &account, database: &database };
    let failed = |fault: Fault| match fault.kind() {
        Kind::Broken => unreachable(fault),
        Kind::Constraint | Kind::Contended | Kind::Other => place.failed(fault),
    };
    let mut conn = connected.map_err(|error| failed(error.into()))?;
    let roles = migrate(&mut conn, &place).await?;
    let _ = conn.close().await;

    let door = Arc::new(Door { options, roles });
    // The connection says what its session is given, not what the server starts with.
    let mut conn = door.connect(Session::System).await.map_err(failed)?;
    let (version, fsync, commit, pages): (String, String, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version'), current_setting('fsync'),
                current_setting('synchronous_commit'), current_setting('full_page_writes')",
    )
    .fetch_one(&mut conn)
    .await
    .map_err(|error| failed(error.into()))?;
    time.measure(&mut conn).await.map_err(failed)?;
    let _ = conn.close().await;
    let durability = durability(&fsync, &commit, &pages);
    let settings = Settings { fsync: &fsync, synchronous_commit: &commit, full_page_writes: &pages };
    let notes = notes(&version, settings, time.now());
    Ok(Opened { door, location: location.clone(), version, durability, notes })
}

/// What a returned `Ok` survives, by the server's settings.
fn durability(fsync: &str, commit: &str, pages: &str) -> String {
    if fsync != "on" {
        return "an answered write survives a crash of the database server's process, not of its system: fsync is \
                off there, and the whole database may be lost"
            .into();
    }
    let written = match commit {
        "off" => {
            return "an answered write may be lost when the database server crashes: synchronous_commit is off there"
                .into();
        }
        "local" => "is synced to the database server's disk",
        "remote_write" => {
            "is synced to the database server's disk and has reached its synchronous standbys, if any"
        }
        "remote_apply" => {
            "is synced to the database server's disk and visible on its synchronous standbys, if any"
        }
        _ => "is synced to the disks of the database server and its synchronous standbys, if any",
    };
    let torn = if pages == "on" { "" } else { "; full_page_writes is off: a power failure may damage pages" };
    format!(
        "an answered write {written} and survives a crash of this process, the server and the power \
         (fsync=on, synchronous_commit={commit}){torn}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_understood_or_refused_without_being_quoted() {
        let options = parse("postgres://app:s3cret@db.example:5433/bul?sslmode=require").unwrap();
        assert_eq!(location(&options), "postgres://db.example:5433/bul");
        for bad in [
            "mysql://u:s3cret@h/d",
            "postgres://u:s3cret@h:port/d",
            "postgres://u@h/d?passwd=s3cret",
            "s3cret",
        ] {
            let error = parse(bad).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn durability_names_what_is_off() {
        assert!(durability("off", "on", "on").contains("fsync is off"));
        assert!(durability("on", "off", "on").contains("may be lost"));
        assert!(durability("on", "on", "on").contains("synchronous_commit=on"));
        assert!(durability("on", "on", "off").contains("full_page_writes"));
    }
}
