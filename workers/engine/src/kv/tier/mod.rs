//! Slower places for evicted blocks: this process's memory, then files.
//!
//! A block goes down when it is evicted and comes back when a prompt asks for it, unless computing
//! it again is the faster way. Everything happens between two steps on the engine's thread, so a
//! block under way can be neither evicted nor seen half done. Invariant: what comes back was
//! written for this key by this model, or does not come back.

pub(crate) mod codec;
pub(crate) mod disk;
pub(crate) mod host;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Instant;

use codec::Codec;
use disk::Disk;
use host::Host;

use super::KvShape;
use super::key::BlockKey;

/// Where evicted blocks go.
#[derive(Debug, Clone, Default)]
pub struct TierOptions {
    /// Bytes of compressed blocks in memory, besides the engine's own; 0 for none.
    pub host_bytes_max: usize,
    /// Directory of block files, one per model at a time; `None` for none. They hold text of
    /// customers in the form of keys and values: protect it like the documents.
    pub disk_directory: Option<PathBuf>,
    /// Bytes of these files.
    pub disk_bytes_max: u64,
    /// Precision there. All but `F32` change answers a little.
    pub codec: Codec,
}

impl TierOptions {
    /// Is there any tier?
    pub fn is_empty(&self) -> bool {
        self.host_bytes_max == 0 && self.disk_directory.is_none()
    }
}

/// Which tier a block came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Host,
    Disk,
}

/// Seconds of each way to a block, as measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Of computing one token; 0 until known.
    pub token_s: f64,
    host_byte_s: f64,
    disk_byte_s: f64,
}

impl Default for Costs {
    fn default() -> Self {
        // Hopeful at first: one try tells more than a guess.
        Self { token_s: 0.0, host_byte_s: 1e-9, disk_byte_s: 2e-9 }
    }
}

impl Costs {
    fn byte_s(&mut self, kind: Kind) -> &mut f64 {
        match kind {
            Kind::Host => &mut self.host_byte_s,
            Kind::Disk => &mut self.disk_byte_s,
        }
    }

    /// Is reading `bytes` faster than computing `tokens`?
    pub fn worth(mut self, kind: Kind, bytes: usize, tokens: usize) -> bool {
        // Not known yet: then whatever was kept is used.
        self.token_s == 0.0 || bytes as f64 * *self.byte_s(kind) < tokens as f64 * self.token_s
    }

    /// Takes a measurement in.
    pub fn measured(&mut self, kind: Kind, bytes: usize, seconds: f64) {
        let old = self.byte_s(kind);
        *old = 0.8 * *old + 0.2 * seconds / bytes.max(1) as f64;
    }

    /// A step computed `tokens`.
    pub fn computed(&mut self, tokens: usize, seconds: f64) {
        let now = seconds / tokens.max(1) as f64;
        self.token_s = if self.token_s == 0.0 { now } else { 0.9 * self.token_s + 0.1 * now };
    }
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
    codec: Codec,
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
            codec: Codec::F32,
            shape,
            costs: Costs::default(),
            counts: TierCounts::default(),
        }
    }

    /// Opens the tiers of `options` for the model of `fingerprint`.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(options: &TierOptions, shape: KvShape, fingerprint: &str) -> std::io::Result<Self> {
        let mut tiers = Self::none(shape);
        tiers.codec = options.codec;
        if options.host_bytes_max > 0 {
            tiers.host = Some(Host::new(options.host_bytes_max));
        }
        if let Some(directory) = &options.disk_directory {
            // Blocks of another precision or size are as useless as those of another model.
            let text = format!("{fingerprint} {:?} {shape:?}", options.codec);
            let seal = blake3::derive_key("bul-engine kv tier v1", text.as_bytes());
            tiers.disk = Some(Disk::open(directory, seal, options.disk_bytes_max)?);
        }
        Ok(tiers)
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.disk.is_none()
    }

    /// Bytes in memory and in files.
    pub fn bytes(&self) -> (usize, u64) {
        (self.host.as_ref().map_or(0, Host::bytes), self.disk.as_ref().map_or(0, Disk::bytes))
    }

    fn find(&self, key: &BlockKey) -> Option<(Kind, usize)> {
        let host = self.host.as_ref().and_then(|host| host.find(key)).map(|len| (Kind::Host, len));
        host.or_else(|| self.disk.as_ref()?.find(key).map(|len| (Kind::Disk, len)))
    }

    /// Keeps an evicted block, unless it is kept already.
    pub fn save(&mut self, key: BlockKey, values: &[f32]) {
        if self.is_empty() || values.is_empty() || self.find(&key).is_some() {
            return;
        }
        self.counts.saved += 1;
        let packed = lz4_flex::compress_prepend_size(&self.codec.encode(self.shape, values));
        let dropped = match &mut self.host {
            Some(host) => host.put(key, packed),
            None => vec![(key, packed)],
        };
        if let Some(disk) = &mut self.disk {
            for (key, block) in dropped {
                disk.put(key, &block);
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
        let len = self.shape.layers * self.shape.layer_len();
        // Before anything is allocated: a length that no block has is damage.
        let (size, _) = packed.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*size) as usize > 1 + 4 * len + 2 * len {
            return None;
        }
        let bytes = lz4_flex::decompress_size_prepended(packed).ok()?;
        self.codec.decode(self.shape, &bytes, len)
    }

    fn forget(&mut self, key: &BlockKey) {
        if let Some(host) = &mut self.host {
            host.remove(key);
        }
        if let Some(disk) = &mut self.disk {
            disk.remove(key);
        }
    }

    /// Writes what is in memory to the files, for the next start.
    pub fn close(&mut self) {
        let (Some(host), Some(disk)) = (&mut self.host, &mut self.disk) else { return };
        for (key, block) in host.drain() {
            disk.put(key, &block);
        }
    }
}
