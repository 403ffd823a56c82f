//! The engine with random weights at real shapes.
//!
//! Under a factory's load:
//! `cargo run -p bul-engine --release --example engine -- SHAPE [TEMPLATES DOCUMENTS PREFIX DATA OUT CONCURRENT]`, or a file
//! `….gguf` in the place of `SHAPE`; then, if wanted, `f16`, `bf16`, `int8` or `int4` for keys and values, `kv=MIB` for their memory, `alone`
//! for attention without shared reads, `greedy` for the best token instead of a draw, `uniform=A-B` for data of different lengths,
//! `unannounced` for an engine that does not know what is coming, `tune` for automatic tuning, `threads=N`, `json`, and in a build with CUDA `cuda:0` or `auto` for the device.
//! The decoder alone, own kernels and the library's in turn, as JSON:
//! `… engine -- speed SHAPE PRECISION [both|own|library] [THREADS] [ROUNDS]`, and on a file
//! `… engine -- speed-file FILE.gguf [THREADS] [ROUNDS] [PROMPT CONTEXT ANSWER BATCHES [SHARED KV]]`.
//! A file for another engine: `… engine -- write SHAPE PRECISION FILE.gguf`.

use std::path::PathBuf;

use bul_engine::{
    ComputeDevice, EngineLoad, EngineOptions, Kernels, KvPrecision, ModelShape, Precision, SpeedModel,
    SpeedOptions, bench_engine, bench_engine_file, bench_speed, write_random_gguf,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("speed") => speed(&args[1..]),
        Some("speed-file") => speed_file(&args[1..]),
        Some("write") => {
            let file = args.get(3).ok_or("which file?")?;
            write_random_gguf(shape(args.get(1))?, precision(args.get(2))?, &PathBuf::from(file))?;
            Ok(())
        }
        _ => load(&args).await,
    }
}

fn shape(name: Option<&String>) -> Outcome<ModelShape> {
    let name = name.map_or("shipped", String::as_str);
    Ok(ModelShape::parse(name).ok_or("SHAPE is tiny, shipped, small, qwen3-0.6b or qwen3-4b")?)
}

fn precision(name: Option<&String>) -> Outcome<Precision> {
    let name = name.map_or("f32", String::as_str);
    Ok(Precision::parse(name).ok_or("PRECISION is f32, q8_0, q4_0 or q4_k_m")?)
}

fn options(threads: Option<&String>, rounds: Option<&String>) -> Outcome<SpeedOptions> {
    let mut options = SpeedOptions::default();
    if let Some(threads) = threads {
        options.threads = threads.parse()?;
    }
    if let Some(rounds) = rounds {
        options.rounds = rounds.parse()?;
    }
    Ok(options)
}

fn speed(args: &[String]) -> Outcome<()> {
    let (shape, precision) = (shape(args.first())?, precision(args.get(1))?);
    let kernels: &[Kernels] = match args.get(2).map_or("both", String::as_str) {
        "own" => &[Kernels::Own],
        "library" => &[Kernels::Library],
        _ => &[Kernels::Own, Kernels::Library],
    };
    let models: Vec<SpeedModel> =
        kernels.iter().map(|kernels| SpeedModel::Random { shape, precision, kernels: *kernels }).collect();
    let reports = bench_speed(&models, &options(args.get(3), args.get(4))?)?;
    println!("{}", serde_json::to_string(&reports)?);
    Ok(())
}

fn speed_file(args: &[String]) -> Outcome<()> {
    let file = args.first().ok_or("which file?")?;
    let mut options = options(args.get(1), args.get(2))?;
    if let [_, _, _, prompt, context, answer, batches, more @ ..] = args {
        options.prompt_tokens = prompt.parse()?;
        options.context_tokens = context.parse()?;
        options.answer_tokens = answer.parse()?;
        options.batches = batches.split(',').map(str::parse).collect::<Result<_, _>>()?;
        if let [shared, kv] = more {
            options.shared_tokens = shared.parse()?;
            options.kv = KvPrecision::parse(kv).ok_or("KV is f32, f16, bf16, int8 or int4")?;
        }
    }
    let reports = bench_speed(&[SpeedModel::File(PathBuf::from(file))], &options)?;
    println!("{}", serde_json::to_string(&reports)?);
    Ok(())
}

async fn load(args: &[String]) -> Outcome<()> {
    let mut options = EngineOptions::default();
    let mut numbers: Vec<usize> = Vec::new();
    let (mut is_json, mut announce, mut greedy, mut uniform) = (false, true, false, None);
    for arg in args.iter().skip(1) {
        if let Some(precision) = KvPrecision::parse(arg) {
            options.kv_precision = precision;
        } else if let Some(device) = ComputeDevice::parse(arg) {
            options.device = device;
        } else if let Some(mib) = arg.strip_prefix("kv=") {
            options.kv_bytes_max = mib.parse::<usize>()? << 20;
        } else if let Some(range) = arg.strip_prefix("uniform=") {
            let (from, to) = range.split_once('-').ok_or("uniform=A-B")?;
            uniform = Some((from.parse()?, to.parse()?));
        } else if let Some(threads) = arg.strip_prefix("threads=") {
            options.threads = threads.parse()?;
        } else {
            match arg.as_str() {
                "alone" => options.group_attention = false,
                "greedy" => greedy = true,
                "tune" => options.tune = true,
                "json" => is_json = true,
                "unannounced" => announce = false,
                _ => numbers.push(arg.parse()?),
            }
        }
    }
    let mut load = EngineLoad::default();
    if let [templates, documents, prefix, data, out, concurrent] = numbers[..] {
        load = EngineLoad {
            templates: u32::try_from(templates)?,
            documents: u32::try_from(documents)?,
            prefix_tokens: prefix,
            data_tokens: (data, data),
            output_tokens: out,
            concurrent,
            ..load
        };
    }
    load.announce &= announce;
    load.data_tokens = uniform.unwrap_or(load.data_tokens);
    if greedy {
        load.temperature = 0.0;
    }
    options.running_max = load.concurrent;
    let file = args.first().filter(|name| name.ends_with(".gguf"));
    let report = match file {
        Some(file) => bench_engine_file(&PathBuf::from(file), &load, &options).await?,
        None => bench_engine(shape(args.first())?, &load, &options).await?,
    };
    if is_json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report:#?}");
    }
    Ok(())
}
