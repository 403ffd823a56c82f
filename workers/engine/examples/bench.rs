//! Measures a model: `cargo run -p bul-engine --release --example bench -- MODEL [THREADS]`,
//! where MODEL is what `BUL_MODEL` takes.

use bul_engine::{BenchOptions, EngineOptions, ModelSpec, bench, open_with};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let spec = args.next().ok_or("which model?")?;
    let threads = args.next().map(|n| n.parse()).transpose()?;
    let output_tokens = args.next().map(|n| n.parse()).transpose()?;
    let spec = ModelSpec::parse(&spec, std::env::var("BUL_MODEL_KEY").ok())?.ok_or("which model?")?;
    let mut options = EngineOptions::default();
    options.threads = threads.unwrap_or(options.threads);
    let registry = prometheus::Registry::new();
    let started = std::time::Instant::now();
    let model = open_with(&spec, &options, Some(&registry))?;
    println!("{:?}\nopened in {:?}", model.info(), started.elapsed());
    let mut settings = BenchOptions::default();
    if let Some(tokens) = output_tokens {
        settings = BenchOptions { output_tokens: tokens, concurrency: Vec::new(), rounds: 20, ..settings };
    }
    println!("{:#?}", bench(model.as_ref(), &settings).await?);
    println!("{}", prometheus::TextEncoder::new().encode_to_string(&registry.gather())?);
    Ok(())
}
