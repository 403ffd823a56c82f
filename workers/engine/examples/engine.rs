//! The engine under a factory's load, with random weights:
//! `cargo run -p bul-engine --release --example engine -- SHAPE [TEMPLATES DOCUMENTS PREFIX DATA OUT CONCURRENT]`;
//! then, if wanted, `f16` or `int8` for keys and values, `kv=MIB` for their memory, and `alone` for attention
//! without shared reads.

use bul_engine::{EngineLoad, EngineOptions, KvPrecision, ModelShape, bench_engine};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let shape = args.next().unwrap_or_else(|| "shipped".into());
    let shape = ModelShape::parse(&shape).ok_or("SHAPE is tiny, shipped, small or qwen3-0.6b")?;
    let mut options = EngineOptions::default();
    let mut numbers: Vec<usize> = Vec::new();
    for arg in args {
        match KvPrecision::parse(&arg) {
            Some(precision) => options.kv_precision = precision,
            None if arg == "alone" => options.group_attention = false,
            None => match arg.strip_prefix("kv=") {
                Some(mib) => options.kv_bytes_max = mib.parse::<usize>()? << 20,
                None => numbers.push(arg.parse()?),
            },
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
    options.running_max = load.concurrent;
    println!("{:#?}", bench_engine(shape, &load, &options).await?);
    Ok(())
}
