//! A copy of the store while others work on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::Connection;

use crate::SqliteStore;
use crate::open::{OpenError, connect, connect_options, make_file};

/// How long the copy waits for a writer that holds the file.
const BUSY_WAIT: Duration = Duration::from_secs(30);

impl SqliteStore {
    /// Writes the store at `path`, as it is at one moment, into the file `to`, which must not exist or be empty. Whoever
    /// works on the store goes on (`VACUUM INTO`: the copy is compact and needs no side files). It is on the disk when
    /// this returns; a copy that was cut short must be thrown away.
    ///
    /// # Errors
    /// When there is no store at `path`, or `to` cannot be written.
    pub fn snapshot(path: &Path, to: &Path) -> BoxFuture<'static, Result<(), OpenError>> {
        copy(path.to_owned(), to.to_owned()).boxed()
    }

    /// Brings what lies in the write-ahead log of the store at `path` into its file, so that the file alone is the store.
    ///
    /// # Errors
    /// When there is no store at `path`, or it is damaged.
    pub fn settle(path: &Path) -> BoxFuture<'static, Result<(), OpenError>> {
        let path = path.to_owned();
        async move {
            let failed = |source| OpenError::Database { path: path.clone(), source };
            let mut connection = connect(&connect_options(&path, BUSY_WAIT)).await.map_err(failed)?;
            let settled = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
            let _ = connection.close().await;
            settled.map(drop).map_err(failed)
        }
        .boxed()
    }
}

async fn copy(path: PathBuf, to: PathBuf) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: path.clone(), source };
    let Some(name) = to.to_str() else {
        let source = std::io::Error::other("its name is not UTF-8");
        return Err(OpenError::File { path: to, source });
    };
    // Made here and not by SQLite, whose file everybody could read.
    let file = make_file(&to)?;
    let mut connection = connect(&connect_options(&path, BUSY_WAIT)).await.map_err(failed)?;
    let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await;
    let _ = connection.close().await;
    copied.map_err(failed)?;
    tokio::task::spawn_blocking(move || file.sync_all())
        .await
        .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
        .map_err(|source| OpenError::File { path: to, source })
}
