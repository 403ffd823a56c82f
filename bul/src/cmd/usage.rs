//! `bul usage`: what the tenant's documents cost, by template and business area.

use bul_job::Timestamp;
use bul_store::UsageLine;
use chrono::{NaiveDate, TimeDelta, Utc};

use crate::client::Backend;
use crate::client::print::{ms, table};
use crate::context::Context;
use crate::exit::Exit;

/// Tokens and times of completed jobs, by template and business area.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bul usage\n  bul usage --since 2026-11-01\n  bul usage --since 24h -o json"
)]
pub struct Args {
    /// From when: a date, an RFC 3339 time, or a length of time such as 90m, 24h or 30d
    #[arg(long, value_name = "WHEN", default_value = "30d", value_parser = since)]
    since: Timestamp,
}

/// Prints usage.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    let backend = Backend::open(context).await?;
    let lines = backend.usage(args.since).await;
    backend.close().await;
    let lines = lines?;
    context.print(&lines, || text(&lines, args.since))?;
    Ok(Exit::Done)
}

/// A point in time, or how long ago one was.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    if let Some(day) = text.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0)) {
        return Ok(day.and_utc());
    }
    let unit = text.chars().last().unwrap_or_default();
    let count: Option<u32> = text.strip_suffix(unit).and_then(|n| n.parse().ok());
    let length = match (count, unit) {
        (Some(n), 'm') => TimeDelta::minutes(n.into()),
        (Some(n), 'h') => TimeDelta::hours(n.into()),
        (Some(n), 'd') if n <= 36_500 => TimeDelta::days(n.into()),
        _ => return Err("expected a date such as 2026-11-01, an RFC 3339 time, or 90m, 24h, 30d".into()),
    };
    Utc::now().checked_sub_signed(length).ok_or_else(|| "too long ago".into())
}

fn text(lines: &[UsageLine], since: Timestamp) -> String {
    if lines.is_empty() {
        return format!("no job has been completed since {}", since.format("%Y-%m-%d %H:%M UTC"));
    }
    let sum = lines
        .iter()
        .map(numbers)
        .fold([0_u64; COLUMNS.len()], |a, b| std::array::from_fn(|i: usize| u64::saturating_add(a[i], b[i])));
    // Columns of a cache that had nothing to tell would only be zeros.
    let shown: Vec<usize> = (0..COLUMNS.len()).filter(|i| *i < ALWAYS_SHOWN || sum[*i] > 0).collect();
    let row = |name: &str, area: &str, n: [u64; COLUMNS.len()], total_ms: f64| {
        let mean = if n[0] == 0 { 0.0 } else { total_ms / n[0] as f64 };
        let mut row = vec![name.to_owned(), if area.is_empty() { "-".to_owned() } else { area.to_owned() }];
        row.extend(shown.iter().map(|i| n[*i].to_string()));
        row.push(ms(mean));
        row
    };
    let mut rows: Vec<Vec<String>> =
        lines.iter().map(|l| row(&l.template, &l.business_area, numbers(l), l.total_ms)).collect();
    rows.push(row("total", "", sum, lines.iter().map(|l| l.total_ms).sum()));
    let names = shown.iter().map(|i| COLUMNS[*i]);
    table(&["TEMPLATE", "AREA"].into_iter().chain(names).chain(["MEAN"]).collect::<Vec<_>>(), &rows)
}

/// Sums of a line. After the first four: tokens restored from the host's memory, from disk and from the store that engines
/// share; answers that were another request's; preemptions, and tokens computed twice because of them.
const COLUMNS: [&str; 10] =
    ["JOBS", "PROMPT", "CACHED", "OUTPUT", "MEMORY", "DISK", "SHARED", "JOINED", "PREEMPTED", "AGAIN"];
/// Of those, the ones that stand in every table.
const ALWAYS_SHOWN: usize = 4;

fn numbers(line: &UsageLine) -> [u64; COLUMNS.len()] {
    [
        line.jobs,
        line.prompt_tokens,
        line.cached_tokens,
        line.output_tokens,
        line.host_tokens,
        line.disk_tokens,
        line.remote_tokens,
        line.attached,
        line.preemptions,
        line.recomputed_tokens,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_point_or_a_length() {
        assert_eq!(since("2026-11-01").unwrap().to_rfc3339(), "2026-11-01T00:00:00+00:00");
        assert!(since("2026-11-01T10:00:00+01:00").is_ok());
        for length in ["90m", "24h", "30d"] {
            assert!(since(length).unwrap() < Utc::now(), "{length}");
        }
        for bad in ["", "d", "yesterday", "-3d", "3w", "99999999999d", "ü"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_are_summed() {
        let line = |jobs| UsageLine {
            template: "invoice".into(),
            business_area: String::new(),
            jobs,
            prompt_tokens: 10,
            cached_tokens: 5,
            output_tokens: 7,
            total_ms: 100.0,
            ..UsageLine::default()
        };
        let finer = |jobs| UsageLine { disk_tokens: 64, preemptions: 2, recomputed_tokens: 96, ..line(jobs) };
        let shown = text(&[line(1), finer(3)], Utc::now());
        let words = |n: usize| shown.lines().nth(n).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(
            words(0)[2..],
            ["JOBS", "PROMPT", "CACHED", "OUTPUT", "DISK", "PREEMPTED", "AGAIN", "MEAN"]
        );
        let total = shown.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(total, ["total", "-", "4", "20", "10", "14", "64", "2", "96", "50", "ms"]);
        let text = text(&[line(1), line(3)], Utc::now());
        let total = text.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(total, ["total", "-", "4", "20", "10", "14", "50", "ms"]);
    }
}
