//! Opening: files and their rights, connections, the schema, the lock of the one `bul up`.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use crate::fault::is_busy;
use crate::migrate::migrate;

/// Connections that read. More only help while more cores read at once.
const READERS_MAX: u32 = 4;
/// How long a query waits for a reader.
const READER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Times a connection is tried while another process makes the file.
const CONNECT_TRIES_MAX: u32 = 40;
/// Pause between these tries.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Pages of the write-ahead log between checkpoints: 16 MiB of 4 KiB pages.
const CHECKPOINT_PAGES: &str = "4096";
/// Page cache of the connection that writes, in KiB with the minus SQLite wants: the pages that a large
/// transaction changes, and the ends of all indexes. Too low: they are written to the log twice.
const WRITER_CACHE: &str = "-16384";
/// Prepared statements of the connection that writes: all of them, those for many rows in five sizes.
const WRITER_STATEMENTS: usize = 200;
/// Rows the writer's connection reads ahead, so that its thread seldom waits for ours.
const WRITER_ROWS_AHEAD: usize = 1024;
/// The name that stands for a store without a file.
const MEMORY: &str = ":memory:";
/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or file cannot be made or read.
    #[error("cannot open {path}: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Some other program's database.
    #[error("{0} is a database of another program")]
    Foreign(PathBuf),
    /// Written by a newer version of this program.
    #[error("{path} has schema version {found}, this program knows up to {known}: use a newer program")]
    TooNew {
        /// Where.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Latest known version.
        known: i64,
    },
    /// `bul up` runs on it already.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// SQLite refused.
    #[error("cannot open {path}: {source}")]
    Database {
        /// Where.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
}

/// Holds a store for this process alone until it is dropped (or the process ends, however it ends).
#[derive(Debug)]
pub struct ExclusiveLock {
    /// The operating system's lock lives as long as the open file; nothing reads it.
    _file: Option<File>,
}

pub(crate) struct Opened {
    pub(crate) writer: SqliteConnection,
    /// Absent for a store in memory, which only its one connection can see.
    pub(crate) readers: Option<SqlitePool>,
    pub(crate) version: String,
}

pub(crate) fn is_memory(path: &Path) -> bool {
    path.as_os_str() == MEMORY
}

/// Takes the lock `PATH.lock`. A store in memory needs none.
pub(crate) fn lock_exclusive(path: &Path) -> Result<ExclusiveLock, OpenError> {
    if is_memory(path) {
        return Ok(ExclusiveLock { _file: None });
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = make_file(Path::new(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(ExclusiveLock { _file: Some(file) }),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path: name.into(), source }),
    }
}

pub(crate) async fn open(path: &Path, busy_timeout: Duration) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    if !is_memory(path) {
        make_file(path)?;
    }
    let options = connect_options(path, busy_timeout)
        .pragma("cache_size", WRITER_CACHE)
        .statement_cache_capacity(WRITER_STATEMENTS)
        .row_buffer_size(WRITER_ROWS_AHEAD);
    let mut writer = connect(&options).await.map_err(failed)?;
    migrate(&mut writer, path).await?;
    let version: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut writer).await.map_err(failed)?;
    let readers =
        if is_memory(path) { None } else { Some(open_readers(path, busy_timeout).await.map_err(failed)?) };
    Ok(Opened { writer, readers, version })
}

/// Connects. Of two processes that make a new file at once one may be told "busy" without a wait while
/// the other switches the file to write-ahead logging.
pub(crate) async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut tries = 1;
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && tries < CONNECT_TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Every connection alike, but that readers cannot write.
pub(crate) fn connect_options(path: &Path, busy_timeout: Duration) -> SqliteConnectOptions {
    let base = if is_memory(path) {
        SqliteConnectOptions::new().in_memory(true)
    } else {
        SqliteConnectOptions::new().filename(path).create_if_missing(false)
    };
    base.journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(busy_timeout)
        .pragma("secure_delete", "ON")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .disable_statement_logging()
}

async fn open_readers(path: &Path, busy_timeout: Duration) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(READER_WAIT_MAX)
        // A connection to a file does not go stale; asking it first would double each query.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(connect_options(path, busy_timeout).pragma("query_only", "ON"))
        .await
}

/// Makes the folders (0700) and the file (0600) that are not there. SQLite gives its side files the
/// rights of the main one, hence nobody else ever reads a job.
pub(crate) fn make_file(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(failed)
}
