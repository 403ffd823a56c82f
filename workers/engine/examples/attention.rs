//! Attention of one step, with and without shared reads:
//! `cargo run -p bul-engine --release --example attention -- [SHAPE PREFIX OWN ROWS THREADS ROUNDS]`.

use bul_engine::{AttentionLoad, KvPrecision, ModelShape, bench_attention};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let shape = args.next().unwrap_or_else(|| "qwen3-0.6b".into());
    let shape = ModelShape::parse(&shape).ok_or("SHAPE is tiny, shipped, small, qwen3-0.6b or qwen3-4b")?;
    let numbers: Vec<usize> = args.map(|n| n.parse()).collect::<Result<_, _>>()?;
    let base = AttentionLoad::default();
    let at = |i: usize, default: usize| numbers.get(i).copied().unwrap_or(default);
    let (prefix_tokens, own_tokens, rows) = (at(0, base.prefix_tokens), at(1, base.own_tokens), at(2, 1));
    let (threads, rounds) = (at(3, base.threads), at(4, base.rounds));
    println!(
        "{prefix_tokens} shared and {own_tokens} own tokens, {rows} rows of each sequence, {threads} threads"
    );
    println!(
        "{:>9} {:>5} {:>9} {:>22} {:>22} {:>7}",
        "sequences", "KV", "MB", "grouped ms p50 / least", "alone ms p50 / least", "ratio"
    );
    for sequences in [1, 8, 16, 32] {
        for precision in KvPrecision::ALL {
            let load =
                AttentionLoad { sequences, prefix_tokens, own_tokens, rows, precision, threads, rounds };
            let report = bench_attention(shape, &load)?;
            let (grouped, alone) = (report.grouped, report.alone);
            println!(
                "{sequences:>9} {:>5} {:>9} {:>11.1} / {:>8.1} {:>11.1} / {:>8.1} {:>7.2}",
                precision.name(),
                report.kv_bytes >> 20,
                grouped.p50,
                grouped.least,
                alone.p50,
                alone.least,
                alone.least / grouped.least
            );
        }
    }
    Ok(())
}
