//! Slower places for evicted blocks: this process's memory, then files, and a store that engines share.
//!
//! A block goes down when it is evicted and comes back when a prompt asks for it, unless computing
//! it again is the faster way. Everything happens between two steps on the engine's thread, so a
//! block under way can be neither evicted nor seen half done; only the shared store has a thread of its own. A
//! request waits for it as long as that is sure to be less than computing; what has not come by then is a miss. Invariant: what comes back was written for this key by this model, or does not
//! come back.

mod clerk;
pub(crate) mod codec;
pub(crate) mod compression;
mod costs;
pub(crate) mod disk;
pub(crate) mod host;
mod options;
mod records;
pub(crate) mod remote;
#[cfg(test)]
pub(crate) mod remote_tests;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use codec::Codec;
use compression::{Compression, unpack};
use costs::Costs;
use disk::{Disk, DiskCounts};
use host::Host;
pub use options::{TierOptions, TierWrite};
use remote::{Remote, RemoteCounts, Wake};

use super::KvShape;
use super::key::BlockKey;
use super::precision::KvPrecision;
use crate::model::arithmetic;
use crate::prefetch::Below;

impl Below for Tiers {
    fn has(&mut self, key: &BlockKey) -> bool {
        let block_tokens = self.shape.block_tokens;
        self.find(key).is_some_and(|(kind, len)| self.costs.worth(kind, len, block_tokens))
    }

    fn ask(&mut self, keys: &[BlockKey]) {
        Self::ask(self, keys);
    }
}

/// Which tier a block came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Host,
    Disk,
    Remote,
}

/// What tiers did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TierCounts {
    pub saved: u64,
    pub restored: u64,
    /// Found, but computing was estimated to be faster.
    pub declined: u64,
    /// Found, but unreadable.
    pub damaged: u64,
}

/// All tiers of one engine.
#[derive(Debug)]
pub(crate) struct Tiers {
    host: Option<Host>,
    disk: Option<Disk>,
    remote: Option<Remote>,
    write: TierWrite,
    codec: Codec,
    /// Keys come and go turned.
    is_turned: bool,
    host_compression: Compression,
    disk_compression: Compression,
    /// Packed bytes of the last block, a guess for the next.
    packed_len: usize,
    shape: KvShape,
    pub costs: Costs,
    pub counts: TierCounts,
}

impl Tiers {
    /// No tiers: what is evicted is gone.
    pub fn none(shape: KvShape) -> Self {
        Self {
            host: None,
            disk: None,
            remote: None,
            write: TierWrite::Back,
            codec: Codec::F32,
            is_turned: false,
            host_compression: Compression::default(),
            disk_compression: Compression::default(),
            packed_len: shape.block_bytes(KvPrecision::F32),
            shape,
            costs: Costs::default(),
            counts: TierCounts::default(),
        }
    }

    /// Opens the tiers of `options` for the model of `fingerprint`.
    ///
    /// `wake` is called on another thread when the shared store has brought something.
    ///
    /// # Errors
    /// When the directory cannot be used, or no thread can be started.
    pub fn open(
        options: &TierOptions,
        shape: KvShape,
        fingerprint: &str,
        wake: Wake,
    ) -> std::io::Result<Self> {
        let mut tiers = Self::none(shape);
        (tiers.codec, tiers.write) = (options.codec, options.write);
        (tiers.host_compression, tiers.disk_compression) =
            (options.host_compression, options.disk_compression);
        // Blocks of another precision or size are as useless as those of another model.
        let text = format!("{fingerprint} {:?} {shape:?} {}", options.codec, arithmetic());
        let seal = blake3::derive_key("bul-engine kv tier v3", text.as_bytes());
        if options.host_bytes_max > 0 {
            tiers.host = Some(Host::new(options.host_bytes_max));
        }
        if let Some(directory) = &options.disk_directory {
            tiers.disk = Some(Disk::open(directory, seal, options.disk_bytes_max)?);
        }
        if let Some(remote) = &options.remote {
            tiers.remote = Some(Remote::start(remote, seal, tiers.bytes_max(), wake)?);
        }
        Ok(tiers)
    }

    /// The same below an engine of this precision. What it holds at four bits goes down as it is: rounded once more it would change.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_below(
        precision: KvPrecision,
        options: &TierOptions,
        shape: KvShape,
        fingerprint: &str,
        wake: Wake,
    ) -> std::io::Result<Self> {
        if precision != KvPrecision::Int4 {
            return Self::open(options, shape, fingerprint, wake);
        }
        let options = &TierOptions { codec: Codec::Int4, ..options.clone() };
        Ok(Self { is_turned: true, ..Self::open(options, shape, fingerprint, wake)? })
    }

    /// Most bytes of a block in any precision, before packing.
    fn bytes_max(&self) -> usize {
        let len = self.shape.layers * self.shape.layer_len();
        1 + 4 * len + 2 * len
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.disk.is_none() && self.remote.is_none()
    }

    /// Bytes in memory and in files.
    pub fn bytes(&self) -> (usize, u64) {
        let staged = self.remote.as_ref().map_or(0, Remote::bytes);
        let host = self.host.as_ref().map_or(0, Host::bytes);
        (host + staged, self.disk.as_ref().map_or(0, Disk::bytes))
    }

    /// What became of blocks at the files.
    pub fn disk_counts(&self) -> DiskCounts {
        self.disk.as_ref().map(Disk::counts).unwrap_or_default()
    }

    /// What became of blocks at the shared store.
    pub fn remote_counts(&self) -> RemoteCounts {
        self.remote.as_ref().map(Remote::counts).unwrap_or_default()
    }

    /// Takes in what the shared store has brought since the last time; true when that was something.
    pub fn collect(&mut self) -> bool {
        let Some((bytes, seconds)) = self.remote.as_mut().and_then(Remote::collect) else { return false };
        self.costs.fetched(bytes, seconds);
        true
    }

    /// Asks the shared store for those of `keys`, from the first on, that are nowhere here.
    pub fn ask(&mut self, keys: &[BlockKey]) {
        if self.remote.is_none() {
            return;
        }
        let found = keys.iter().map_while(|key| self.find(key)).map(|(kind, _)| kind);
        let (here, staged) =
            found.fold((0, 0), |(here, staged), kind| (here + 1, staged + usize::from(kind == Kind::Remote)));
        let keys: Vec<BlockKey> =
            keys[here..].iter().filter(|key| self.find(key).is_none()).copied().collect();
        if !keys.is_empty() && !self.costs.worth_fetching(self.packed_len, self.shape.block_tokens) {
            self.counts.declined += 1;
            return;
        }
        if let Some(remote) = &mut self.remote {
            // What came for this chain must not give way to what comes for its end.
            let room = remote.room().saturating_sub(staged);
            remote.ask(&keys[..keys.len().min(room)]);
        }
    }

    /// Is there a store that engines share?
    pub fn is_shared(&self) -> bool {
        self.remote.is_some()
    }

    /// How long a request may wait for the shared store to bring `tokens` of its prompt: half of what computing them would
    /// take, so that a store that is slow or hangs costs no more than that.
    pub fn patience(&self, tokens: usize) -> Duration {
        let Some(remote) = &self.remote else { return Duration::ZERO };
        let compute = Duration::try_from_secs_f64(self.costs.token_s * tokens as f64 / 2.0);
        match compute {
            Ok(Duration::ZERO) | Err(_) => remote.within(),
            Ok(compute) => compute.min(remote.within()),
        }
    }

    /// Whether the block of `key` is kept here.
    pub fn finds(&self, key: &BlockKey) -> bool {
        self.find(key).is_some()
    }

    /// Whether the first of `keys` is on its way from the shared store.
    pub fn is_coming(&self, keys: &[BlockKey]) -> bool {
        keys.first().is_some_and(|key| self.remote.as_ref().is_some_and(|remote| remote.is_asked(key)))
    }

    fn find(&self, key: &BlockKey) -> Option<(Kind, usize)> {
        let host = self.host.as_ref().and_then(|host| host.find(key)).map(|len| (Kind::Host, len));
        let disk = || self.disk.as_ref()?.find(key).map(|len| (Kind::Disk, len));
        let remote = || self.remote.as_ref()?.find(key).map(|len| (Kind::Remote, len));
        host.or_else(disk).or_else(remote)
    }

    /// Whether the block of `key`, which has just been computed, is to be saved now.
    pub fn wants(&self, key: &BlockKey) -> bool {
        self.write == TierWrite::Through && !self.is_empty() && !self.holds(key)
    }

    /// Whether there is nothing to gain from saving the block of `key`.
    pub fn holds(&self, key: &BlockKey) -> bool {
        // A disk that has failed is left alone: a block for it would be packed for nothing.
        let is_local = self.host.is_some() || self.disk.as_ref().is_some_and(Disk::is_writable);
        let is_remote = || self.remote.as_ref().is_none_or(|remote| remote.is_written(key));
        self.find(key).is_some() || (!is_local && is_remote())
    }

    /// Keeps a block, unless it is kept already.
    pub fn save(&mut self, key: BlockKey, values: &[f32]) {
        if self.is_empty() || values.is_empty() || self.holds(&key) {
            return;
        }
        self.counts.saved += 1;
        let bytes = self.codec.pack(self.shape, values, self.is_turned);
        if let Some(remote) = &mut self.remote {
            remote.put(key, || bytes.clone());
        }
        if self.write == TierWrite::Through
            && self.host.is_some()
            && let Some(disk) = &mut self.disk
        {
            // Memory ends with the process.
            disk.put(key, &self.disk_compression.pack(&bytes));
        }
        let dropped = match (&mut self.host, &self.disk) {
            (Some(host), _) => {
                let packed = self.host_compression.pack(&bytes);
                self.packed_len = packed.len();
                host.put(key, packed)
            }
            (None, Some(_)) => vec![(key, self.disk_compression.pack(&bytes))],
            (None, None) => return,
        };
        let is_packed = self.host.is_none();
        self.lower(dropped, is_packed);
    }

    /// Writes what memory had no room for to the files; `is_packed` for them already.
    fn lower(&mut self, dropped: Vec<(BlockKey, Vec<u8>)>, is_packed: bool) {
        let bytes_max = self.bytes_max();
        let Some(disk) = &mut self.disk else { return };
        for (key, block) in dropped {
            if is_packed || self.host_compression == self.disk_compression {
                disk.put(key, &block);
            } else if disk.find(&key).is_none()
                && let Some(bytes) = unpack(&block, bytes_max)
            {
                disk.put(key, &self.disk_compression.pack(&bytes));
            }
        }
    }

    /// The block of `key`, when it is kept, whole, and faster to read than to compute.
    pub fn load(&mut self, key: &BlockKey) -> Option<(Kind, Vec<f32>)> {
        let (kind, len) = self.find(key)?;
        if !self.costs.worth(kind, len, self.shape.block_tokens) {
            self.counts.declined += 1;
            return None;
        }
        let started = Instant::now();
        let packed = match kind {
            Kind::Host => self.host.as_mut()?.get(key).map(<[u8]>::to_vec),
            Kind::Disk => self.disk.as_mut()?.get(key),
            Kind::Remote => self.remote.as_mut()?.take(key),
        };
        let values = packed.and_then(|packed| self.unpack(&packed));
        self.costs.measured(kind, len, started.elapsed().as_secs_f64());
        if values.is_none() {
            self.counts.damaged += 1;
            self.forget(key);
        }
        self.counts.restored += u64::from(values.is_some());
        values.map(|values| (kind, values))
    }

    fn unpack(&self, packed: &[u8]) -> Option<Vec<f32>> {
        let bytes = unpack(packed, self.bytes_max())?;
        self.codec.unpack(self.shape, &bytes, self.shape.layers * self.shape.layer_len(), self.is_turned)
    }

    fn forget(&mut self, key: &BlockKey) {
        if let Some(host) = &mut self.host {
            host.remove(key);
        }
        if let Some(disk) = &mut self.disk {
            disk.remove(key);
        }
        if let Some(remote) = &mut self.remote {
            remote.take(key);
        }
    }

    /// Writes what is in memory to the files, for the next start, and lets the shared store end its work.
    pub fn close(&mut self) {
        if let (Some(host), Some(_)) = (&mut self.host, &self.disk) {
            let blocks = host.drain().collect();
            self.lower(blocks, false);
        }
        if let Some(remote) = &mut self.remote {
            remote.close();
        }
    }
}
