//! `bul model`: what writes, and how fast.

use bul_engine::BenchOptions;
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::wire;

/// Options of `bul model`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bul model info\n  BUL_MODEL=/models/qwen3-0.6b.gguf bul model bench -o json"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Name, architecture, size and context
    Info,
    /// Prefill, decode and time to first token
    Bench {
        /// Rounds; medians are reported
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Tokens to generate per answer
        #[arg(long, default_value_t = 64)]
        tokens: usize,
    },
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    let model = wire::open_model(context.config(), None, None).await?;
    let info = model.info();
    match args.command {
        Command::Info => context.print(&info, || {
            let or = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
            let count = |n: Option<u64>| n.map_or("unknown".into(), |n| n.to_string());
            format!(
                "model         {}\nkind          {}\narchitecture  {}\nparameters    {}\nprecision     {}\ncontext       {} tokens\nfingerprint   {}\n",
                info.name,
                info.kind,
                or(&info.architecture),
                count(info.parameters),
                or(&info.precision),
                count(info.context_tokens.map(|n| n as u64)),
                or(&info.fingerprint),
            )
        })?,
        Command::Bench { rounds, tokens } => {
            let options = BenchOptions { rounds, output_tokens: tokens, ..BenchOptions::default() };
            let report = bul_engine::bench(model.as_ref(), &options).await?;
            context.print(&json!({"model": info, "bench": report}), || {
                let mut text = format!(
                    "model                 {}\nprefill               {:.0} tok/s ({} prompt tokens)\ndecode, 1 sequence    {:.0} tok/s\n",
                    info.name, report.prefill_tokens_per_second, report.prompt_tokens, report.decode_tokens_per_second
                );
                for rate in &report.decode {
                    text.push_str(&format!("decode, {:>2} at a time  {:.0} tok/s\n", rate.concurrent, rate.tokens_per_second));
                }
                text.push_str(&format!(
                    "first token, cold     {:.1} ms\nfirst token, warm     {:.1} ms ({} tokens from the cache)\n",
                    report.first_token_cold_ms, report.first_token_warm_ms, report.cached_tokens
                ));
                text
            })?;
        }
    }
    Ok(Exit::Done)
}
