//! The engine under a factory's load, with random weights:
//! `cargo run -p bul-engine --release --example engine -- SHAPE [TEMPLATES DOCUMENTS PREFIX DATA OUT CONCURRENT]`.

use bul_engine::{EngineLoad, EngineOptions, ModelShape, bench_engine};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let shape = args.next().unwrap_or_else(|| "shipped".into());
    let shape = ModelShape::parse(&shape).ok_or("SHAPE is tiny, shipped, small or qwen3-0.6b")?;
    let numbers: Vec<usize> = args.map(|n| n.parse()).collect::<Result<_, _>>()?;
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
    let options = EngineOptions { running_max: load.concurrent, ..EngineOptions::default() };
    println!("{:#?}", bench_engine(shape, &load, &options).await?);
    Ok(())
}
