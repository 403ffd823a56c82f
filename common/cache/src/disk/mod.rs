//! Third tier: texts in a folder of this machine; they survive a restart.
//!
//! Invariant: no caller waits longer than the time limit for a disk, and no async thread is ever blocked by one. A
//! damaged, torn or foreign file is a miss. One process per folder. Called by `cache`.

mod folder;
mod index;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bul_runtime::breaker::{BreakerOptions, Outcome};
use tokio::sync::Semaphore;
use tracing::warn;

use self::folder::Folder;
use crate::entry::encoded_max;
use crate::meter::{Meter, Nothing};
use crate::{CacheMetrics, Entry, Hit, Kept, Key, SharedBreaker, Tier, TierStats};

/// Threads that may be blocked by the disk at once. A disk that hangs takes these and no more.
const THREADS_MAX: usize = 4;

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Settings of the disk tier.
#[derive(Clone)]
pub struct DiskOptions {
    /// The folder; made where it is missing. No other process may use it.
    pub folder: PathBuf,
    /// Bytes of all files together, counted in blocks of 4 KiB. Too high: the disk fills up. Too low: texts are
    /// written again. While texts are being written it may be exceeded by those few.
    pub bytes_max: u64,
    /// Files. Too high: the index takes memory (about 150 bytes each) and the scan at the start takes long.
    pub entries_max: usize,
    /// Time a look-up or write may take. Too high: a hanging disk holds documents up, until the breaker opens. Too
    /// low: a busy disk counts as a failure.
    pub timeout: Duration,
    /// Texts from this size on are compressed, bytes. Below a block nothing is gained.
    pub compress_from: usize,
    /// When the disk counts as broken or full, and for how long.
    pub breaker: BreakerOptions,
    /// Time of day, for the end of texts after a restart.
    pub clock: Clock,
}

impl DiskOptions {
    /// The usual settings for a folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            bytes_max: 512 << 20,
            entries_max: 100_000,
            timeout: Duration::from_millis(100),
            compress_from: 4096,
            breaker: BreakerOptions { window_ms: 10_000, open_ms_max: 60_000, ..BreakerOptions::default() },
            clock: Arc::new(|| u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0)),
        }
    }
}

impl fmt::Debug for DiskOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskOptions")
            .field("folder", &self.folder)
            .field("bytes_max", &self.bytes_max)
            .field("entries_max", &self.entries_max)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the cache folder {folder} cannot be used: {source}")]
pub struct DiskError {
    folder: String,
    source: io::Error,
}

/// Texts in a folder.
pub struct Disk {
    folder: Arc<Folder>,
    threads: Arc<Semaphore>,
    breaker: SharedBreaker,
    timeout: Duration,
    bytes_max: u64,
    value_bytes_max: usize,
    is_scanned: AtomicBool,
    meter: Meter,
}

impl Disk {
    /// Opens the folder. What lies in it is found at once by its key; the index follows with the first
    /// [`Tier::upkeep`], so that a large cache does not delay the start.
    ///
    /// # Errors
    /// When it cannot be made or another process uses it.
    pub async fn open(
        options: DiskOptions,
        value_bytes_max: usize,
        metrics: &CacheMetrics,
    ) -> Result<Self, DiskError> {
        let breaker = SharedBreaker::local("disk", options.breaker.clone(), metrics);
        let (timeout, bytes_max) = (options.timeout, options.bytes_max);
        let name = options.folder.display().to_string();
        let opened = tokio::task::spawn_blocking(move || Folder::open(options, value_bytes_max)).await;
        let folder = opened
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|source| DiskError { folder: name, source })?;
        Ok(Self {
            folder: Arc::new(folder),
            threads: Arc::new(Semaphore::new(THREADS_MAX)),
            breaker,
            timeout,
            bytes_max,
            value_bytes_max,
            is_scanned: AtomicBool::new(false),
            meter: metrics.tier("disk"),
        })
    }

    /// Runs blocking work within the time limit. `None` when it was not done in time; it may still be done later.
    async fn within<T: Send + 'static>(&self, work: impl FnOnce(&Folder) -> T + Send + 'static) -> Option<T> {
        let folder = self.folder.clone();
        let threads = self.threads.clone();
        let done = tokio::time::timeout(self.timeout, async move {
            let thread = threads.acquire_owned().await.ok()?;
            let work = tokio::task::spawn_blocking(move || {
                let result = work(&folder);
                drop(thread);
                result
            });
            work.await.ok()
        });
        done.await.ok().flatten()
    }

    async fn look(&self, key: Key) -> Result<Hit, Nothing> {
        let Ok(pass) = self.breaker.try_acquire() else { return Err(Nothing::Skipped) };
        let found = self.within(move |folder| folder.read(&key)).await.unwrap_or(Err(Nothing::Failed));
        pass.record(if found == Err(Nothing::Failed) { Outcome::Failure } else { Outcome::Success });
        found
    }

    async fn show(&self) {
        let folder = self.folder.clone();
        // The index may be locked by a thread that waits for the disk.
        if let Ok((bytes, entries)) = tokio::task::spawn_blocking(move || folder.holds()).await {
            self.meter.holds(bytes, entries);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.folder.close();
    }
}

#[async_trait]
impl Tier for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    async fn get(&self, key: &Key) -> Option<Hit> {
        self.meter.read(self.look(*key).await)
    }

    async fn put(&self, key: &Key, entry: &Entry, ttl: Duration) -> Kept {
        let bytes = entry.body.len();
        if bytes > self.value_bytes_max || encoded_max(bytes) as u64 > self.bytes_max {
            return self.meter.wrote(Kept::TooLarge, bytes);
        }
        if ttl.is_zero() {
            self.remove(key).await;
            return self.meter.wrote(Kept::Dropped, bytes);
        }
        let Ok(pass) = self.breaker.try_acquire() else { return self.meter.wrote(Kept::Dropped, bytes) };
        let (key, entry) = (*key, entry.clone());
        let written = self
            .within(move |folder| {
                let written = folder.write(&key, &entry, ttl);
                (written, folder.holds())
            })
            .await;
        let kept = match written {
            Some((Ok(()), (held, entries))) => {
                self.meter.holds(held, entries);
                Kept::Yes
            }
            Some((Err(error), _)) => {
                warn!(%error, "a text is not kept on disk");
                Kept::Dropped
            }
            None => Kept::Dropped,
        };
        pass.record(if kept == Kept::Yes { Outcome::Success } else { Outcome::Failure });
        self.meter.wrote(kept, bytes)
    }

    async fn remove(&self, key: &Key) -> bool {
        let key = *key;
        // Tried even where the breaker is open: a text that must go must go.
        matches!(self.within(move |folder| folder.remove(&key)).await, Some(Ok(())))
    }

    fn stats(&self) -> TierStats {
        self.meter.stats()
    }

    async fn upkeep(&self) {
        if !self.is_scanned.swap(true, Ordering::Relaxed) {
            let folder = self.folder.clone();
            match tokio::task::spawn_blocking(move || folder.scan()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "the cache folder is not scanned"),
                Err(panic) => warn!(%panic, "the scan of the cache folder ended early"),
            }
        }
        self.show().await;
    }
}
