//! Settings of the local engine.

use crate::compute::ComputeDevice;
use crate::kv::policy::Eviction;
use crate::kv::precision::KvPrecision;
use crate::kv::shares::TenantShares;
use crate::kv::tier::TierOptions;

/// Settings of the local engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// What computes. On a CUDA device keys and values are half precision, and `threads` and
    /// `group_attention` do not matter.
    pub device: ComputeDevice,
    /// Threads for large operations. Too many slow down other work on the machine.
    pub threads: usize,
    /// Bytes for keys and values, at four bits those of blocks that are being filled included. Too few: fewer cached prefixes, fewer requests side by side.
    pub kv_bytes_max: usize,
    /// Precision of keys and values in that memory. Half precision holds twice as many tokens, eight bits nearly four times; both
    /// change answers a little. Four bits hold seven times as many, and the error shows.
    pub kv_precision: KvPrecision,
    /// Tokens per KV block. Smaller blocks match more of a prefix, larger ones need fewer keys.
    pub block_tokens: usize,
    /// Requests computed side by side. More raises throughput and each one's latency.
    pub running_max: usize,
    /// Requests that may wait; one more is refused with `GenerateError::Unavailable`.
    pub queue_max: usize,
    /// Prompt tokens per step, on a CPU; sixteen times as many, up to 8192, on a CUDA device. More speeds up long prompts and delays
    /// answers under way.
    pub prefill_chunk_tokens: usize,
    /// Which cached blocks go first when memory is short.
    pub eviction: Eviction,
    /// Changes the eviction policy and the tokens of a step where it has measured that this helps; answers stay the same. Counts
    /// what the policies would have found, as the next one does.
    pub tune: bool,
    /// Longest step that tuning may bring about, seconds: answers under way wait that long for their next token.
    pub tune_step_s_max: f64,
    /// Also counts what the other policies would have found: six caches of keys, without bytes.
    pub shadow_policies: bool,
    /// Shares of the blocks that tenants may hold and can always get.
    pub shares: TenantShares,
    /// Where blocks go that are evicted.
    pub tiers: TierOptions,
    /// Starts a request only when its longest answer fits, so that nothing is computed twice. Fewer
    /// requests side by side, the most work in the end: right for bulk.
    pub reserve_longest: bool,
    /// How long the blocks of a session are kept for its next request, milliseconds. They go
    /// earlier when running requests need the memory.
    pub session_ttl_ms: u64,
    /// Bytes of keys and values that sessions and warmed-up prefixes may keep, all together.
    pub pinned_bytes_max: usize,
    /// Bytes of keys and values that may be brought from slower tiers ahead of need and wait to be used; 0 for none.
    /// Too many push out what unannounced requests could have found.
    pub prefetch_bytes_max: usize,
    /// Requests that begin alike read the shared keys and values together. Answers are the same
    /// either way: off is for comparing speeds.
    pub group_attention: bool,
    /// Refuses models that need more memory than this, bytes, keys and values included.
    pub memory_bytes_max: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: ComputeDevice::Cpu,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            kv_bytes_max: 256 << 20,
            kv_precision: KvPrecision::F32,
            block_tokens: 16,
            running_max: 16,
            queue_max: 256,
            prefill_chunk_tokens: 256,
            eviction: Eviction::Planned,
            tune: false,
            tune_step_s_max: 0.5,
            shadow_policies: false,
            shares: TenantShares::default(),
            tiers: TierOptions::default(),
            reserve_longest: false,
            session_ttl_ms: 600_000,
            pinned_bytes_max: 64 << 20,
            prefetch_bytes_max: 64 << 20,
            group_attention: true,
            memory_bytes_max: None,
        }
    }
}

impl EngineOptions {
    /// What engine `number` of `engines` in one process has: a part of what they share, and files of its own.
    pub(crate) fn share(&self, number: usize, engines: usize, device: ComputeDevice) -> Self {
        let tiers = &self.tiers;
        let tiers = TierOptions {
            host_bytes_max: tiers.host_bytes_max / engines,
            disk_directory: tiers.disk_directory.as_ref().map(|all| all.join(format!("engine-{number}"))),
            disk_bytes_max: tiers.disk_bytes_max / engines as u64,
            ..tiers.clone()
        };
        // Cards have memory of their own; engines on the processor share one.
        let sharing = if device == ComputeDevice::Cpu { engines as u64 } else { 1 };
        let memory_bytes_max = self.memory_bytes_max.map(|bytes| bytes / sharing);
        let threads = (self.threads / engines).max(1);
        Self { device, threads, tiers, memory_bytes_max, ..self.clone() }
    }
}
