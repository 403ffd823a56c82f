//! A CUDA device beside the CPU, as JSON: do logits agree, does company change a bit, and how fast is it?
//!
//! `cargo run --release -p bul-engine --features cuda --example cuda -- [DEVICE] [SHAPE] [CONTEXT] [BATCHES] [COMPARED] [ROUNDS]`: device 0,
//! qwen3-0.6b, 512 keys a row, `1,8,64,256`, small and 20 unless said otherwise. Ends with status 1 when they do not agree.

use bul_engine::{DeviceLoad, ModelShape, bench_cuda};

/// Most error of all logits together that half precision may make.
const ERROR_MAX: f64 = 5e-3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut load = DeviceLoad::default();
    let number = args.first().map_or(Ok(0), |text| text.parse())?;
    if let Some(name) = args.get(1) {
        load.measured =
            ModelShape::parse(name).ok_or("SHAPE is tiny, shipped, small, qwen3-0.6b or qwen3-4b")?;
    }
    if let Some(context) = args.get(2) {
        load.context = context.parse()?;
    }
    if let Some(batches) = args.get(3) {
        load.batches = batches.split(',').map(str::parse).collect::<Result<_, _>>()?;
    }
    if let Some(name) = args.get(4) {
        load.compared = ModelShape::parse(name).ok_or("COMPARED is a shape, too")?;
    }
    if let Some(rounds) = args.get(5) {
        load.rounds = rounds.parse()?;
    }
    let report = bench_cuda(number, &load)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    let agreement = &report.agreement;
    if agreement.relative_error > ERROR_MAX || !agreement.company_changes_nothing {
        return Err("the device and the CPU do not agree, or a row depends on its company".into());
    }
    Ok(())
}
