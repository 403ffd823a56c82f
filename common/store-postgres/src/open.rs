//! Opening: the schema, the roles, and what the server promises.

use std::sync::Arc;

use bul_store::StoreError;
use sqlx::Connection;

use crate::connect::{Door, Session};
use crate::fault::{Fault, Kind};
use crate::migrate::{Place, migrate};
use crate::server::{Settings, notes};
use crate::servers::Servers;
use crate::time::Time;

/// How long a server may take to answer at all.
const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// What else is to be said where a standby may take over.
const NO_STANDBY: &str = "; the URL names several servers, but synchronous_standby_names is empty: a standby that takes \
    over may lack what was answered last";

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

pub(crate) async fn open(servers: Servers, time: &Time) -> Result<Opened, OpenError> {
    let location = servers.location();
    let (account, database) = (servers.account().to_owned(), servers.database().to_owned());
    let place = Place { location: &location, account: &account, database: &database };
    let failed = |fault: Fault| match fault.kind() {
        Kind::Broken => OpenError::Unreachable { location: location.clone(), source: fault.into() },
        Kind::Constraint | Kind::Contended | Kind::Other => place.failed(fault),
    };
    let mut conn = servers.connect(ANSWER_MAX).await.map_err(failed)?.conn;
    let roles = migrate(&mut conn, &place).await?;
    let _ = conn.close().await;

    let several = servers.len() > 1;
    let door = Door { servers, roles };
    // The connection says what its session is given, not what the server starts with.
    let mut conn = door.connect(Session::System).await.map_err(failed)?.conn;
    let (version, fsync, commit, pages, standbys): (String, String, String, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version'), current_setting('fsync'),
                current_setting('synchronous_commit'), current_setting('full_page_writes'),
                current_setting('synchronous_standby_names')",
    )
    .fetch_one(&mut conn)
    .await
    .map_err(|error| failed(error.into()))?;
    time.measure(&mut conn).await.map_err(failed)?;
    let _ = conn.close().await;
    let mut durability = durability(&fsync, &commit, &pages);
    if several && standbys.is_empty() {
        durability.push_str(NO_STANDBY);
    }
    let settings = Settings { fsync: &fsync, synchronous_commit: &commit, full_page_writes: &pages };
    let notes = notes(&version, settings, time.now());
    Ok(Opened { door: Arc::new(door), location: location.clone(), version, durability, notes })
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
    fn durability_names_what_is_off() {
        assert!(durability("off", "on", "on").contains("fsync is off"));
        assert!(durability("on", "off", "on").contains("may be lost"));
        assert!(durability("on", "on", "on").contains("synchronous_commit=on"));
        assert!(durability("on", "on", "off").contains("full_page_writes"));
    }
}
