//! `bul jobs show` for people.

use bul_job::Timestamp;
use bul_store::{AttemptRecord, JobDetail, Receipt, Usage};
use serde_json::Value;

use crate::client::print::{bytes, clean, cut, instant, ms, pairs, span, table};
use crate::client::types::JobView;

/// Findings that are listed.
const FINDINGS_MAX: usize = 20;

/// The whole page.
pub(super) fn text(job: &JobView, now: Timestamp) -> String {
    let detail = &job.detail;
    let mut out = head(detail, &job.explanation, now);
    if !detail.documents.is_empty() {
        let rows: Vec<Vec<String>> =
            detail.documents.iter().map(|(format, size)| vec![format.to_string(), bytes(*size)]).collect();
        out.push_str(&section("Documents", &table(&["FORMAT", "SIZE"], &rows)));
    }
    if !detail.attempts.is_empty() {
        let rows: Vec<Vec<String>> =
            detail.attempts.iter().map(|attempt| attempt_row(attempt, now)).collect();
        let mut body = table(&["NO", "WORKER", "TOOK", "OUTCOME", "CODE"], &rows);
        for attempt in &detail.attempts {
            if let Some(failure) = &attempt.failure {
                body.push_str(&format!("{}: {}\n", attempt.attempt, clean(&failure.message)));
            }
        }
        out.push_str(&section("Attempts", &body));
    }
    if let Some(usage) = &detail.usage {
        out.push_str(&section("Cost", &pairs(&cost(usage))));
    }
    if !detail.findings.is_empty() {
        out.push_str(&section("Findings", &findings(&detail.findings)));
    }
    out
}

fn section(title: &str, body: &str) -> String {
    format!("\n{title}\n{}", body.lines().map(|line| format!("  {line}\n")).collect::<String>())
}

fn head(detail: &JobDetail, explanation: &str, now: Timestamp) -> String {
    let summary = &detail.summary;
    let mut lines = vec![
        ("id", summary.id.to_string()),
        ("state", summary.status.state.to_string()),
        ("why", explanation.to_owned()),
        ("template", summary.template.clone()),
    ];
    let mut add = |name, text: &str| {
        if !text.is_empty() {
            lines.push((name, cut(text, 200)));
        }
    };
    add("title", &summary.title);
    add("area", &summary.business_area);
    if let Some(job) = &detail.job {
        add("query", job.query.as_deref().unwrap_or_default());
        add("formats", &job.formats.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", "));
        add("language", &job.language);
        add("session", job.session_id.as_deref().unwrap_or_default());
        add("key", job.idempotency_key.as_deref().unwrap_or_default());
        let labels: Vec<String> = job.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        add("metadata", &labels.join(" "));
    }
    add("lane", summary.lane.as_str());
    add("source", &detail.source);
    add("accepted", &instant(summary.accepted_at, now));
    if let Some(at) = summary.ended_at {
        add("ended", &format!("{}, after {}", instant(at, now), span(at - summary.accepted_at)));
    }
    if let Some(at) = detail.core.deadline {
        add("deadline", &instant(at, now));
    }
    let core = &detail.core;
    if core.failures > 0 || core.crashes > 0 {
        add(
            "failures",
            &format!("{} of {} allowed, {} lost workers", core.failures, core.max_attempts, core.crashes),
        );
    }
    pairs(&lines)
}

fn attempt_row(attempt: &AttemptRecord, now: Timestamp) -> Vec<String> {
    let took = attempt.ended_at.unwrap_or(now) - attempt.started_at;
    let took = took.num_milliseconds().max(0) as f64;
    let outcome = if attempt.outcome.is_empty() { "runs".to_owned() } else { attempt.outcome.clone() };
    let code = attempt.failure.as_ref().map(|failure| failure.code.clone()).unwrap_or_default();
    vec![attempt.attempt.to_string(), cut(&attempt.worker, 24), ms(took), outcome, code]
}

fn cost(usage: &Usage) -> Vec<(&'static str, String)> {
    let model = if usage.model.is_empty() { "none was needed".to_owned() } else { usage.model.clone() };
    let prompt = format!("{} tokens, {} of them from the cache", usage.prompt_tokens, usage.cached_tokens);
    let mut lines = vec![("model", model), ("prompt", prompt)];
    lines.extend(finer(&usage.receipt));
    lines.extend([
        ("output", format!("{} tokens in {}", usage.output_tokens, ms(usage.generate_ms))),
        ("writing", ms(usage.write_ms)),
        ("total", ms(usage.total_ms)),
    ]);
    lines
}

/// What there is to tell beside the sums.
fn finer(receipt: &Receipt) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let tiers = [
        (receipt.host_tokens, "from memory"),
        (receipt.disk_tokens, "from disk"),
        (receipt.remote_tokens, "from the shared store"),
    ];
    let tiers: Vec<String> = tiers
        .iter()
        .filter(|(tokens, _)| *tokens > 0)
        .map(|(tokens, tier)| format!("{tokens} {tier}"))
        .collect();
    if !tiers.is_empty() {
        lines.push(("restored", tiers.join(", ")));
    }
    if receipt.attached > 0 {
        lines.push(("shared", format!("{} answers of requests under way", receipt.attached)));
    }
    if receipt.kept_texts > 0 {
        lines.push(("resumed", format!("{} texts kept by an earlier attempt", receipt.kept_texts)));
    }
    if receipt.preemptions > 0 {
        let again = receipt.recomputed_tokens;
        lines.push(("preempted", format!("{} times, {again} tokens computed again", receipt.preemptions)));
    }
    if receipt.queue_ms > 0.0 || receipt.first_token_ms > 0.0 {
        let (queue, first) = (ms(receipt.queue_ms), ms(receipt.first_token_ms));
        lines.push(("waited", format!("{queue} for the model; first token after {first}")));
    }
    lines
}

fn findings(list: &[Value]) -> String {
    let part = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let mut out: String = list
        .iter()
        .take(FINDINGS_MAX)
        .map(|finding| {
            let line = match finding.as_str() {
                Some(text) => text.to_owned(),
                None => [
                    part(finding, "severity"),
                    part(finding, "rule"),
                    part(finding, "path"),
                    part(finding, "message"),
                ]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(": "),
            };
            format!("{}\n", clean(&line))
        })
        .collect();
    if list.len() > FINDINGS_MAX {
        out.push_str(&format!("and {} more; all of them with -o json\n", list.len() - FINDINGS_MAX));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_holds_everything() {
        let job: JobView = serde_json::from_value(json!({
            "id": "0192f0c8-7b2e-7abc-8def-0123456789ab", "template": "invoice", "business_area": "sales",
            "lane": "high", "state": "completed", "attempt": 2, "title": "Invoice 7",
            "accepted_at": "2026-11-16T10:00:00Z", "ended_at": "2026-11-16T10:00:42Z",
            "core": {"state": "completed", "attempt": 2, "publish": 2, "failures": 1, "crashes": 0, "max_attempts": 5,
                "due_at": null, "cancel_requested": false, "deadline": null},
            "source": "http", "documents": {"pdf": 20480},
            "usage": {"model": "bul-demo", "prompt_tokens": 900, "cached_tokens": 700, "output_tokens": 120,
                "generate_ms": 350.0, "write_ms": 20.0, "total_ms": 400.0, "host_tokens": 64, "remote_tokens": 32,
                "preemptions": 2, "recomputed_tokens": 96, "queue_ms": 12.0, "first_token_ms": 40.0},
            "findings": [{"rule": "invoice.total", "severity": "warning", "path": "/total", "message": "differs"}],
            "attempts": [
                {"attempt": 1, "worker": "w1", "started_at": "2026-11-16T10:00:00Z", "ended_at": "2026-11-16T10:00:01Z",
                    "outcome": "failed", "failure": {"class": "transient", "code": "model_unavailable", "message": "gone"}},
                {"attempt": 2, "worker": "w1", "started_at": "2026-11-16T10:00:02Z", "ended_at": "2026-11-16T10:00:03Z",
                    "outcome": "completed"}],
            "explanation": "completed with pdf"
        }))
        .unwrap();
        let page = text(&job, "2026-11-16T11:00:00Z".parse().unwrap());
        for part in [
            "why       completed with pdf",
            "after 42 s",
            "pdf     20 KiB",
            "failed     model_unavailable",
            "  1: gone",
            "900 tokens, 700 of them from the cache",
            "restored   64 from memory, 32 from the shared store",
            "preempted  2 times, 96 tokens computed again",
            "waited     12 ms for the model; first token after 40 ms",
            "warning: invoice.total: /total: differs",
            "1 of 5 allowed",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
    }
}
