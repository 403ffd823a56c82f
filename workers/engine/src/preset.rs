//! Settings that go together, by what the engine is for.

use crate::kv::tier::TierOptions;
use crate::kv::tier::codec::Codec;
use crate::open::EngineOptions;

/// What an engine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// People wait: few side by side, short steps.
    LowLatency,
    /// The default.
    Balanced,
    /// Little memory: a small cache, evicted blocks at eight bits. Answers change a little where a
    /// block comes back.
    MemoryEfficient,
    /// Queues of documents: many side by side, long steps, nothing computed twice.
    Bulk,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 4] = [Self::LowLatency, Self::Balanced, Self::MemoryEfficient, Self::Bulk];

    /// Name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::LowLatency => "low-latency",
            Self::Balanced => "balanced",
            Self::MemoryEfficient => "memory-efficient",
            Self::Bulk => "bulk",
        }
    }

    /// The preset of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }
}

impl EngineOptions {
    /// The settings of a preset; single ones can be changed afterwards.
    pub fn preset(preset: Preset) -> Self {
        let base = Self::default();
        match preset {
            Preset::Balanced => base,
            Preset::LowLatency => Self {
                running_max: 4,
                prefill_chunk_tokens: 96,
                session_ttl_ms: 1_800_000,
                tune_step_s_max: 0.1,
                ..base
            },
            Preset::MemoryEfficient => Self {
                kv_bytes_max: 64 << 20,
                running_max: 8,
                prefill_chunk_tokens: 128,
                pinned_bytes_max: 8 << 20,
                tiers: TierOptions { host_bytes_max: 32 << 20, codec: Codec::Int8, ..TierOptions::default() },
                ..base
            },
            Preset::Bulk => Self {
                running_max: 64,
                queue_max: 4096,
                prefill_chunk_tokens: 1024,
                tune_step_s_max: 5.0,
                reserve_longest: true,
                // The forecast keeps what the queue needs for as long as it needs it; a pin would hold what nobody asks for.
                pinned_bytes_max: 0,
                ..base
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for preset in Preset::ALL {
            assert_eq!(Preset::parse(preset.name()), Some(preset));
        }
        assert_eq!(Preset::parse("fast"), None);
    }
}
