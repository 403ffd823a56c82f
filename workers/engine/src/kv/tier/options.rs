//! Which slower tiers there are, and how blocks go there.

use std::path::PathBuf;

use super::codec::Codec;
use super::compression::Compression;
use super::remote::RemoteTier;

/// When a block goes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TierWrite {
    /// When it is evicted, and at an orderly end: the least work. A process that is killed takes its cache along, and a new one
    /// finds only what others had no room for.
    #[default]
    Back,
    /// As soon as it is computed, where it belongs to a prompt: others find it at once, and a crash loses nothing. Blocks of
    /// answers, which are seldom asked for again, go when they are evicted.
    Through,
}

impl TierWrite {
    /// Names as they are written in a configuration.
    pub const NAMES: [&'static str; 2] = ["back", "through"];

    /// Reads one of [`Self::NAMES`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "back" => Some(Self::Back),
            "through" => Some(Self::Through),
            _ => None,
        }
    }
}

/// Where evicted blocks go.
#[derive(Debug, Clone, Default)]
pub struct TierOptions {
    /// When they go there.
    pub write: TierWrite,
    /// Bytes of compressed blocks in memory, besides the engine's own; 0 for none.
    pub host_bytes_max: usize,
    /// Directory of block files, one per model at a time; `None` for none. They hold text of
    /// customers in the form of keys and values: protect it like the documents.
    pub disk_directory: Option<PathBuf>,
    /// Bytes of these files.
    pub disk_bytes_max: u64,
    /// Precision there. All but `F32` change answers a little.
    pub codec: Codec,
    /// How blocks in memory are packed: it takes the engine's own time, so it should be fast.
    pub host_compression: Compression,
    /// How blocks in files are packed.
    pub disk_compression: Compression,
    /// A store that engines share; `None` for none.
    pub remote: Option<RemoteTier>,
}

impl TierOptions {
    /// Is there any tier?
    pub fn is_empty(&self) -> bool {
        self.host_bytes_max == 0 && self.disk_directory.is_none() && self.remote.is_none()
    }
}
