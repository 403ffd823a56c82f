//! Generation: one trait, [`Generate`], and its three implementations.
//!
//! The engine never sees a job, a template or a document. Callers: the worker and `bul model`.

mod attn;
mod backend;
mod bench;
mod chat;
mod checkpoint;
mod compute;
mod constraint;
#[cfg(any(test, feature = "cuda"))]
mod cuda;
mod detokenise;
mod engine;
mod fleet;
mod forecast;
mod generate;
mod grammar;
mod job;
mod kv;
mod local;
mod metrics;
mod model;
mod open;
mod policies;
mod prefetch;
mod preset;
mod report;
mod request;
mod runner;
mod sample;
mod sched;
mod schema_check;
mod sequence;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trace;
mod trial;
mod vocabulary;

pub use backend::openai::OpenAi;
pub use backend::options::{ApiKey, OpenAiOptions, OpenAiTimeouts};
pub use backend::scripted::{Scripted, ScriptedFailure, ScriptedOptions};
#[cfg(feature = "cuda")]
pub use bench::{Agreement, BatchSpeed, DeviceLoad, DeviceReport, bench_cuda};
pub use bench::{
    AttentionLoad, AttentionReport, BenchOptions, BenchReport, DecodeRate, EngineBenchError,
    EngineBenchReport, EngineLoad, Kernels, ModelShape, Percentiles, Precision, Rate, SpeedModel,
    SpeedOptions, SpeedReport, StepTime, bench, bench_attention, bench_engine, bench_engine_file,
    bench_speed, write_random_gguf,
};
pub use compute::ComputeDevice;
pub use forecast::{ExpectedPrefix, Forecast, need};
pub use generate::{Generate, GenerateError, GenerateErrorClass, ModelInfo, Pieces};
pub use job::{Completion, Constraint, Finish, Message, Receipt, Request, Role, Sampling, Scope};
pub use kv::policy::Eviction;
pub use kv::precision::KvPrecision;
pub use kv::shadow::ShadowRate;
pub use kv::shares::{FLOORS_PERCENT_MAX, SharesError, TenantShare, TenantShares};
pub use kv::tier::codec::Codec;
pub use kv::tier::compression::Compression;
pub use kv::tier::remote::{BlockName, RemoteBlocks, RemoteError, RemoteTier};
pub use kv::tier::{TierOptions, TierWrite};
pub use local::LocalModel;
pub use metrics::{ALL as METRICS, MetricInfo};
pub use open::{
    EmbeddedModel, EngineOptions, ModelSpec, Observed, OpenError, open, open_on, open_trial, open_with,
};
pub use policies::{CacheModel, PolicyWorkload, PrefetchRate, compare_policies, compare_prefetch};
pub use preset::Preset;
pub use report::CacheReport;
pub use schema_check::SchemaCheck;
pub use trial::{Comparison, Trial, TrialReport, TrialSide, Winner};
