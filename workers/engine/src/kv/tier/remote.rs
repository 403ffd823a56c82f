//! Evicted blocks at a store that several engines share, for example Redis.
//!
//! The engine's thread never waits for it: a thread of its own asks and writes, and what came lands in memory. Only a request
//! may wait for a moment, while others go on. Nothing of the store is believed: each block carries a keyed digest over name and
//! bytes, its size is bounded, and a store that fails, is slow or hands out forged bytes is left alone for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use bul_runtime::breaker::BreakerOptions;
use parking_lot::Mutex;

use super::clerk::Clerk;
use super::compression::Compression;
use super::host::Host;
use crate::kv::key::{BlockKey, KeyMap};

/// Calls that wait for the store; beyond, blocks are neither asked for nor written.
const CALLS_MAX: usize = 64;
/// Blocks of one call at most, and of the first one.
const BATCH_MAX: usize = 32;
const BATCH_FIRST: usize = 4;
/// Keys whose presence or absence is remembered.
const KNOWN_MAX: usize = 1 << 16;
/// How long a missing block is not asked for again, milliseconds.
const MISSING_MS: u64 = 5_000;

/// Name of a block at the store: a digest of model, precision, sharing scope, tenant and all tokens up to the block.
pub type BlockName = [u8; 32];

/// A store could not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store of KV blocks failed: {0}")]
pub struct RemoteError(pub String);

/// A store of blocks. Called by one thread that may wait, but never longer than `within`: the caller counts a late
/// answer as a failure. Blocks are opaque, may be dropped at any time, and are never changed under one name.
pub trait RemoteBlocks: Send + Sync {
    /// Blocks in the order of `names`, `None` for those that are not there. One of more than `bytes_max` bytes need
    /// not be sent and counts as not there.
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn get_many(
        &self,
        names: &[BlockName],
        bytes_max: usize,
        within: Duration,
    ) -> Result<Vec<Option<Vec<u8>>>, RemoteError>;

    /// Keeps a block for as long as the store sees fit.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put(&self, name: BlockName, block: Vec<u8>, within: Duration) -> Result<(), RemoteError>;
}

/// A store and how it is used.
#[derive(Clone)]
pub struct RemoteTier {
    /// The store.
    pub store: Arc<dyn RemoteBlocks>,
    /// Shared by all engines that use the store. Without it nobody writes a block that is believed, and names tell
    /// nothing of the text behind them.
    pub secret: [u8; 32],
    /// How blocks are packed there.
    pub compression: Compression,
    /// Time limit of one call. Longer than a block takes to compute makes the store useless.
    pub within: Duration,
    /// Bytes that came and wait to be used; as many again may wait to be written.
    pub staged_bytes_max: usize,
    /// When the store is left alone.
    pub breaker: BreakerOptions,
}

impl RemoteTier {
    /// The usual settings for `store`.
    pub fn new(store: Arc<dyn RemoteBlocks>, secret: [u8; 32]) -> Self {
        Self {
            store,
            secret,
            compression: Compression::Zstd { level: 1 },
            within: Duration::from_millis(250),
            staged_bytes_max: 64 << 20,
            breaker: BreakerOptions::default(),
        }
    }
}

impl std::fmt::Debug for RemoteTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteTier")
            .field("compression", &self.compression)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

/// What became of blocks at the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RemoteCounts {
    pub fetched: u64,
    pub missing: u64,
    /// Came, and were not what was written under their name.
    pub forged: u64,
    pub written: u64,
    /// Not asked for or not written, since the store failed or is left alone, or too much waits already.
    pub skipped: u64,
}

impl RemoteCounts {
    fn add(&mut self, other: &Self) {
        self.fetched += other.fetched;
        self.missing += other.missing;
        self.forged += other.forged;
        self.written += other.written;
        self.skipped += other.skipped;
    }
}

/// What the store's thread hands over.
#[derive(Debug, Default)]
pub(super) struct Landed {
    pub blocks: Vec<(BlockKey, Vec<u8>)>,
    /// Not there, or not to be believed.
    pub missing: Vec<BlockKey>,
    /// Blocks that were asked for and are no longer under way.
    pub answered: usize,
    /// Bytes and seconds of the last call that brought any.
    pub cost: Option<(usize, f64)>,
    pub counts: RemoteCounts,
}

impl Landed {
    /// Puts what came later behind what has come.
    pub fn append(&mut self, later: Self) {
        self.blocks.extend(later.blocks);
        self.missing.extend(later.missing);
        self.answered += later.answered;
        self.cost = later.cost.or(self.cost);
        self.counts.add(&later.counts);
    }
}

/// What the engine asks of the store's thread.
pub(super) enum Call {
    Get(Vec<BlockKey>),
    /// Bytes of a block before packing.
    Put(BlockKey, Vec<u8>),
}

/// Called when blocks have landed.
pub(crate) type Wake = Box<dyn Fn() + Send>;

/// What both sides see.
#[derive(Default)]
pub(super) struct Shared {
    pub landed: Mutex<Landed>,
    /// Bytes that wait to be written.
    pub queued_bytes: AtomicUsize,
    pub stopping: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Asked,
    MissingUntil(u64),
    There,
}

/// The engine's side of a store.
pub(crate) struct Remote {
    calls: Option<SyncSender<Call>>,
    ended: Receiver<()>,
    shared: Arc<Shared>,
    staged: Host,
    known: KeyMap<Known>,
    counts: RemoteCounts,
    /// Blocks that were asked for and have not come.
    asked: usize,
    asked_max: usize,
    /// Blocks of the next call: half as many after one that brought nothing in its time, one more after one that did.
    batch: usize,
    bytes_max: usize,
    within: Duration,
    started: Instant,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("staged", &self.staged.bytes())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// Starts the thread of a store, for blocks of the model and precision that `seal` stands for.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        tier: &RemoteTier,
        seal: [u8; 32],
        block_bytes_max: usize,
        wake: Wake,
    ) -> std::io::Result<Self> {
        let (calls, inbox) = sync_channel(CALLS_MAX);
        let (end, ended) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let clerk = Clerk::new(tier, seal, block_bytes_max, shared.clone(), wake);
        std::thread::Builder::new().name("bul-engine-remote".into()).spawn(move || {
            clerk.run(&inbox);
            let _ = end.try_send(());
        })?;
        Ok(Self {
            calls: Some(calls),
            ended,
            shared,
            staged: Host::new(tier.staged_bytes_max),
            known: KeyMap::default(),
            counts: RemoteCounts::default(),
            asked: 0,
            // All that is under way must find room when it comes.
            asked_max: (tier.staged_bytes_max / block_bytes_max.max(1)).max(1),
            batch: BATCH_FIRST,
            bytes_max: tier.staged_bytes_max,
            within: tier.within,
            started: Instant::now(),
        })
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn know(&mut self, key: BlockKey, known: Known) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(key, known);
    }

    /// Takes in what has come. Gives bytes and seconds of the calls, if there were any.
    pub fn collect(&mut self) -> Option<(usize, f64)> {
        let landed = std::mem::take(&mut *self.shared.landed.lock());
        let until = self.now_ms() + MISSING_MS;
        for key in landed.missing {
            self.know(key, Known::MissingUntil(until));
        }
        for (key, packed) in landed.blocks {
            self.know(key, Known::There);
            drop(self.staged.put(key, packed));
        }
        self.asked -= landed.answered.min(self.asked);
        match (landed.cost, landed.counts.skipped) {
            (Some(_), _) => self.batch = (self.batch + 1).min(BATCH_MAX),
            (None, skipped) if skipped > 0 => self.batch = (self.batch / 2).max(1),
            (None, _) => {}
        }
        self.counts.add(&landed.counts);
        landed.cost
    }

    /// Length of the block of `key`, when it has come.
    pub fn find(&self, key: &BlockKey) -> Option<usize> {
        self.staged.find(key)
    }

    /// Takes the packed block of `key` out.
    pub fn take(&mut self, key: &BlockKey) -> Option<Vec<u8>> {
        let packed = self.staged.get(key).map(<[u8]>::to_vec);
        self.staged.remove(key);
        packed
    }

    /// Blocks that may have come and wait to be used.
    pub fn room(&self) -> usize {
        self.asked_max
    }

    /// Asks for blocks of a chain that have not come, up to the first that is known to be missing: what is behind it is of no use. At
    /// most a batch.
    pub fn ask(&mut self, keys: &[BlockKey]) {
        let now = self.now_ms();
        let room = self.batch.min(self.asked_max - self.asked.min(self.asked_max));
        let may_be_there = |key: &&BlockKey| match self.known.get(*key) {
            Some(Known::MissingUntil(until)) => *until <= now,
            _ => true,
        };
        let wanted =
            |key: &&BlockKey| self.staged.find(key).is_none() && self.known.get(*key) != Some(&Known::Asked);
        let chain = keys.iter().take_while(may_be_there);
        let batch: Vec<BlockKey> = chain.filter(wanted).take(room).copied().collect();
        let Some(calls) = &self.calls else { return };
        if batch.is_empty() {
            return;
        }
        match calls.try_send(Call::Get(batch.clone())) {
            Ok(()) => {
                self.asked += batch.len();
                batch.into_iter().for_each(|key| self.know(key, Known::Asked));
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.skipped += batch.len() as u64;
            }
        }
    }

    /// Time limit of one call.
    pub fn within(&self) -> Duration {
        self.within
    }

    /// Whether the block of `key` was asked for and has not come yet.
    pub fn is_asked(&self, key: &BlockKey) -> bool {
        self.known.get(key) == Some(&Known::Asked)
    }

    /// Whether the block of `key` is at the store, as far as is known here.
    pub fn is_written(&self, key: &BlockKey) -> bool {
        self.known.get(key) == Some(&Known::There)
    }

    /// Writes a block, unless it is there already or too much waits to be written.
    pub fn put(&mut self, key: BlockKey, bytes: impl FnOnce() -> Vec<u8>) {
        let Some(calls) = &self.calls else { return };
        if self.is_written(&key) {
            return;
        }
        if self.shared.queued_bytes.load(Ordering::Relaxed) >= self.bytes_max {
            self.counts.skipped += 1;
            return;
        }
        let bytes = bytes();
        let len = bytes.len();
        self.shared.queued_bytes.fetch_add(len, Ordering::Relaxed);
        if calls.try_send(Call::Put(key, bytes)).is_ok() {
            self.know(key, Known::There);
        } else {
            self.shared.queued_bytes.fetch_sub(len, Ordering::Relaxed);
            self.counts.skipped += 1;
        }
    }

    /// Bytes that came and were not used yet.
    pub fn bytes(&self) -> usize {
        self.staged.bytes()
    }

    /// What became of blocks, as far as it was collected.
    pub fn counts(&self) -> RemoteCounts {
        self.counts
    }

    /// Ends the thread. What waits to be written has the time of one call for it.
    pub fn close(&mut self) {
        if self.calls.take().is_none() {
            return;
        }
        if self.ended.recv_timeout(self.within) == Err(RecvTimeoutError::Timeout) {
            // Nobody waits for a store that hangs; its thread ends with the call under way.
            self.shared.stopping.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}
