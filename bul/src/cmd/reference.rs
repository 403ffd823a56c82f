//! `bul reference`: the pages of `docs/` that are written by the program itself.
//!
//! Invariant: each committed page is what is printed here; a test compares them.

use bul_engine::METRICS;
use bul_telemetry::names;
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;

/// Every option, or every metric, with its meaning.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bul reference configuration > docs/configuration.md\n  bul reference metrics -o json"
)]
pub struct Args {
    #[arg(value_enum)]
    page: Page,
}

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Page {
    /// Options with variables and defaults
    Configuration,
    /// What /metrics shows
    Metrics,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match args.page {
        Page::Configuration => {
            let page = bul_config::reference();
            context.print(&bul_config::schema(), || page)?;
        }
        Page::Metrics => {
            let lines = metrics();
            let objects: Vec<_> = lines
                .iter()
                .map(|line| json!({"name": line.name, "kind": line.kind, "labels": line.labels, "meaning": line.meaning}))
                .collect();
            context.print(&objects, || metrics_page(&lines))?;
        }
    }
    Ok(Exit::Done)
}

/// A line of the table of metrics.
struct Line {
    name: &'static str,
    kind: &'static str,
    labels: String,
    meaning: &'static str,
}

fn metrics() -> Vec<Line> {
    // Labels of the services stand in the meaning.
    let services = names::ALL.iter().map(|metric| (metric.name, String::new(), metric.help));
    let engine = METRICS.iter().map(|metric| {
        let labels = metric.label.map(|(name, values)| format!("{name}: {values}"));
        (metric.name, labels.unwrap_or_default(), metric.help)
    });
    let line = |(name, labels, meaning): (&'static str, String, &'static str)| {
        let kind = match name {
            _ if name.ends_with("_total") => "counter",
            _ if name.ends_with("_seconds") => "histogram",
            _ => "gauge",
        };
        Line { name, kind, labels, meaning }
    };
    services.chain(engine).map(line).collect()
}

fn metrics_page(lines: &[Line]) -> String {
    let mut out = String::from(
        "# Metrics\n\nWritten by `bul reference metrics`. Served at `/metrics` in the text format of Prometheus, on the \
         listener of the API or on `metrics_listen`. Times are seconds.\n\n| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for Line { name, kind, labels, meaning } in lines {
        out.push_str(&format!("| `{name}` | {kind} | {labels} | {meaning} |\n"));
    }
    out
}
