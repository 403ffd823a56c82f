//! Logs and metrics: one place for names and set-up.
//!
//! A failure is logged once, where it is handled. Never logged: prompts, job data, documents, keys.

pub mod names;

use std::io::IsTerminal;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Readable on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Installs the log subscriber on stderr. `filter` is in the syntax of `RUST_LOG`; an invalid one is
/// an error, since a silent default would hide what somebody wanted to see. With `spans`, the end of each span is a line.
pub fn init_logs(format: LogFormat, filter: &str, spans: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives(filter)).map_err(|e| format!("log filter {filter:?}: {e}"))?;
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_span_events(if spans { FmtSpan::CLOSE } else { FmtSpan::NONE });
    let result = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Auto if !terminal => builder.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Auto | LogFormat::Text => builder.compact().with_target(false).try_init(),
    };
    result.map_err(|e| format!("logging cannot be set up: {e}"))
}

/// The filter's directives. AMQP answers the question whether a queue is there with an error and an end of the channel, which
/// the library logs as if something were wrong; the adapter tells what is. Whoever names the library sees all of it.
fn directives(filter: &str) -> String {
    if filter.contains("lapin") { filter.into() } else { format!("lapin::channel=off,{filter}") }
}

/// Registers a counter under a name from [`names`].
pub fn counter(registry: &Registry, metric: names::Metric, labels: &[&str]) -> IntCounterVec {
    let counter = IntCounterVec::new(Opts::new(metric.name, metric.help), labels);
    registered(registry, counter, metric)
}

/// Registers a gauge under a name from [`names`].
pub fn gauge(registry: &Registry, metric: names::Metric, labels: &[&str]) -> IntGaugeVec {
    let gauge = IntGaugeVec::new(Opts::new(metric.name, metric.help), labels);
    registered(registry, gauge, metric)
}

/// Registers the state of circuit breakers, which several crates show under one name; label: what it guards.
pub fn breakers(registry: &Registry) -> IntGaugeVec {
    gauge(registry, names::BREAKER, &["dependency"])
}

/// Registers a histogram of seconds under a name from [`names`], 1 ms to 2 min.
pub fn seconds(registry: &Registry, metric: names::Metric, labels: &[&str]) -> HistogramVec {
    const BOUNDS_S: [f64; 14] =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0];
    let opts = HistogramOpts::new(metric.name, metric.help).buckets(BOUNDS_S.to_vec());
    registered(registry, HistogramVec::new(opts, labels), metric)
}

/// Names are constants and registered once per registry: a failure here is a mistake in the program,
/// found by the first test that starts it.
fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
    metric: names::Metric,
) -> C {
    let collector = collector.unwrap_or_else(|e| panic!("metric {}: {e}", metric.name));
    registry.register(Box::new(collector.clone())).unwrap_or_else(|e| panic!("metric {}: {e}", metric.name));
    collector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_cries_wolf_is_heard_only_when_it_is_named() {
        for (filter, expected) in [
            ("info", "lapin::channel=off,info"),
            ("warn,bul_worker=debug", "lapin::channel=off,warn,bul_worker=debug"),
            ("info,lapin=debug", "info,lapin=debug"),
        ] {
            assert_eq!(directives(filter), expected);
            assert!(EnvFilter::try_new(directives(filter)).is_ok());
        }
        assert!(EnvFilter::try_new(directives("info,,=")).is_err());
    }
}
