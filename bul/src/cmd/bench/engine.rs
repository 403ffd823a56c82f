//! `bul bench engine`: the model engine under a factory's load, with random weights at real shapes.
//!
//! Needs neither store nor broker nor a model file: speed depends on shapes, not on what was learned.

use std::path::PathBuf;

use anyhow::Context as _;
use bul_engine::{
    Codec, Compression, EngineLoad, EngineOptions, KvPrecision, ModelShape, Precision, Preset, TierOptions,
    TierWrite, bench_engine,
};

use crate::context::Context;
use crate::exit::{Exit, Fault};

/// Options of `bul bench engine`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shape of the model: tiny, shipped, small or qwen3-0.6b
    #[arg(long, default_value = "shipped")]
    shape: String,
    /// Weights: f32, q8_0, q4_0 or q4_k_m
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Settings of the engine: low-latency, balanced, memory-efficient or bulk
    #[arg(long, default_value = "bulk")]
    preset: String,
    /// Templates
    #[arg(long, default_value_t = 8)]
    templates: u32,
    /// Documents of each template
    #[arg(long, default_value_t = 64)]
    documents: u32,
    /// Tokens that all documents of one template share
    #[arg(long, default_value_t = 2000)]
    prefix: usize,
    /// Tokens of data of a document: one number, or the fewest and the most as 100-1024
    #[arg(long, default_value = "200")]
    data: String,
    /// Tokens of each answer
    #[arg(long, default_value_t = 400)]
    answer: usize,
    /// Requests under way at the same time
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Threads of the model; 0 for all
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// MiB of keys and values; 0 for what the preset says
    #[arg(long, default_value_t = 0)]
    kv_mib: usize,
    /// Keys and values in memory: f32, f16, bf16, int8 or int4
    #[arg(long, default_value = "f32")]
    kv: String,
    #[command(flatten)]
    tiers: Tiers,
    /// Do not tell the engine which prefixes are coming
    #[arg(long)]
    no_forecast: bool,
    /// Requests that the engine is told of in advance, as the ones that come next; 0 for all that wait
    #[arg(long, default_value_t = 0)]
    ahead: usize,
    /// Requests that begin alike do not read the shared keys and values together; to compare speeds
    #[arg(long)]
    no_sharing: bool,
}

// No `///` here: it would become the text of the whole command.
// Slower places for evicted keys and values. What is found there is brought back only where that is measured to be faster than
// computing it again.
#[derive(Debug, clap::Args)]
struct Tiers {
    /// MiB of packed keys and values in memory; 0 for what the preset says
    #[arg(long, default_value_t = 0)]
    host_mib: usize,
    /// Folder of files with keys and values; a second run with the same model finds what the first one left
    #[arg(long, value_name = "FOLDER")]
    tier_dir: Option<PathBuf>,
    /// MiB of these files
    #[arg(long, default_value_t = 4096)]
    disk_mib: u64,
    /// When they are written there: back (when evicted) or through (prompts at once)
    #[arg(long, default_value = "back")]
    tier_write: String,
    /// How they are written there: f32, f16, int8 or int4; otherwise as the preset says
    #[arg(long)]
    tier_codec: Option<String>,
    /// How they are packed there: none, lz4, or zstd:1 to zstd:19
    #[arg(long, default_value = "lz4")]
    tier_compression: String,
}

impl Tiers {
    /// What is asked for, over what the preset says.
    fn over(&self, preset: TierOptions) -> Result<TierOptions, Fault> {
        let unknown = |flag: &str, value: &str, known: &[&str]| {
            Fault::usage(format!("--{flag}: `{value}` is none of {}", known.join(", ")))
        };
        let write = TierWrite::parse(&self.tier_write)
            .ok_or_else(|| unknown("tier-write", &self.tier_write, &TierWrite::NAMES))?;
        let codec = match &self.tier_codec {
            None => preset.codec,
            Some(name) => {
                Codec::parse(name).ok_or_else(|| unknown("tier-codec", name, &Codec::ALL.map(Codec::name)))?
            }
        };
        let packing = Compression::parse(&self.tier_compression)
            .ok_or_else(|| unknown("tier-compression", &self.tier_compression, &Compression::NAMES))?;
        Ok(TierOptions {
            write,
            codec,
            host_bytes_max: if self.host_mib > 0 { self.host_mib << 20 } else { preset.host_bytes_max },
            disk_directory: self.tier_dir.clone(),
            disk_bytes_max: self.disk_mib << 20,
            host_compression: packing,
            disk_compression: packing,
            ..preset
        })
    }
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    let shape = ModelShape::parse(&args.shape)
        .ok_or_else(|| Fault::usage(format!("--shape: `{}` is none of the known shapes", args.shape)))?;
    let preset = Preset::parse(&args.preset)
        .ok_or_else(|| Fault::usage(format!("--preset: `{}` is no preset", args.preset)))?;
    let precision = Precision::parse(&args.precision).ok_or_else(|| {
        Fault::usage(format!("--precision: `{}` is none of f32, q8_0, q4_0, q4_k_m", args.precision))
    })?;
    let load = EngineLoad {
        precision,
        templates: args.templates,
        documents: args.documents,
        prefix_tokens: args.prefix,
        data_tokens: range(&args.data)?,
        output_tokens: args.answer,
        concurrent: args.concurrency,
        announce: !args.no_forecast,
        ahead: args.ahead,
        ..EngineLoad::default()
    };
    let kv_precision = KvPrecision::parse(&args.kv)
        .ok_or_else(|| Fault::usage(format!("--kv: `{}` is none of f32, f16, bf16, int8, int4", args.kv)))?;
    let mut options = EngineOptions {
        shadow_policies: true,
        kv_precision,
        group_attention: !args.no_sharing,
        ..EngineOptions::preset(preset)
    };
    options.tiers = args.tiers.over(options.tiers)?;
    if args.threads > 0 {
        options.threads = args.threads;
    }
    if args.kv_mib > 0 {
        options.kv_bytes_max = args.kv_mib << 20;
    }
    let report = bench_engine(shape, &load, &options).await?;
    context.print(&report, || {
        format!(
            "model              {} ({} parameters, {}, {} threads)\nrequests           {} in {:.1} s\noutput             {:.0} tok/s\nfirst token        {:.0} ms median, {:.0} ms p99\nbetween tokens     {:.1} ms median, {:.1} ms p99\nfound, device      {} of {} prompt tokens\nfound, host, disk  {}, {}\nslower tiers       {} blocks written, {} brought back, {} times faster to compute\npreemptions        {}\npeak memory        {} MiB\n",
            report.shape,
            report.parameters,
            args.precision,
            report.threads,
            report.requests,
            report.seconds,
            report.output_tokens_per_second,
            report.first_token_ms.p50,
            report.first_token_ms.p99,
            report.inter_token_ms.p50,
            report.inter_token_ms.p99,
            report.device_hit_tokens,
            report.cache.prompt_tokens,
            report.host_hit_tokens,
            report.disk_hit_tokens,
            report.cache.saved_blocks,
            report.cache.restored_blocks,
            report.cache.declined_blocks,
            report.preemptions,
            report.peak_memory_bytes >> 20,
        )
    })?;
    Ok(Exit::Done)
}

/// `200`, or `100-1024`.
fn range(text: &str) -> anyhow::Result<(usize, usize)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number =
        |part: &str| part.trim().parse::<usize>().with_context(|| format!("--data: `{part}` is no number"));
    Ok((number(low)?, number(high)?))
}
