//! How dead letters, reports and the audit look for people.

use bul_store::{AuditLine, DeadLetter};
use chrono::Utc;

use crate::client::print::{bytes, clean, clean_lines, count, cut, instant, pairs, relative, short, table};
use crate::client::types::BulkReport;

/// Characters of a message in the list; the line stays within 80.
const MESSAGE_CHARS_MAX: usize = 26;
/// Characters of a name in the audit.
const ACTOR_CHARS_MAX: usize = 20;

/// What a replay or purge did.
pub(super) fn report(report: &BulkReport, verb: &str) -> String {
    let done = report.replayed.or(report.purged).unwrap_or(0);
    let mut out = if report.dry_run {
        format!("{} would be {verb}\n", count(report.matched, "dead letter"))
    } else {
        // One that died again meanwhile was not counted at the start.
        let all = report.matched.max(done + report.skipped + report.failed);
        let mut line = format!("{done} of {} {verb}", count(all, "dead letter"));
        if report.skipped > 0 {
            line.push_str(&format!(", {} skipped (not dead any more)", report.skipped));
        }
        if report.failed > 0 {
            line.push_str(&format!(", {} refused", report.failed));
        }
        line + "\n"
    };
    for id in &report.ids {
        out.push_str(&format!("{id}\n"));
    }
    let shown = report.ids.len() as u64;
    let total = if report.dry_run { report.matched } else { done };
    if shown > 0 && total > shown {
        out.push_str("…\n");
    }
    for edit in &report.edits {
        out.push_str(&clean_lines(&edit.diff));
    }
    for refusal in &report.refusals {
        out.push_str(&clean(&format!("{} stays as it is: {}", refusal.id, refusal.message)));
        out.push('\n');
    }
    if let Some(why) = report.halted.as_ref().filter(|_| report.dry_run) {
        out.push_str(&format!("it would halt at present: {}\n", clean(why)));
    }
    out
}

/// One line per dead letter.
pub(super) fn list(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "no dead letters".into();
    }
    let now = Utc::now();
    let row = |letter: &DeadLetter| {
        vec![
            short(&letter.id),
            letter.reason.as_str().to_owned(),
            cut(&letter.template, 14),
            relative(letter.died_at, now),
            cut(&letter.message, MESSAGE_CHARS_MAX),
        ]
    };
    table(&["ID", "REASON", "TEMPLATE", "DIED", "MESSAGE"], &letters.iter().map(row).collect::<Vec<_>>())
}

/// All about one dead letter.
pub(super) fn show(letter: &DeadLetter) -> String {
    let mut lines = vec![
        ("id", letter.id.to_string()),
        ("reason", letter.reason.as_str().to_owned()),
        ("code", letter.code.clone()),
        ("message", letter.message.clone()),
        ("template", letter.template.clone()),
        ("attempts", letter.attempts.to_string()),
        ("died", instant(letter.died_at, Utc::now())),
    ];
    if let Some(size) = letter.raw_bytes {
        lines.push(("raw", bytes(size)));
    }
    let mut out = pairs(&lines);
    if let Some(job) = &letter.job {
        let job = bul_dlq_replayer::as_raw(job, Utc::now());
        out.push_str(&format!("\nJob\n{}\n", serde_json::to_string_pretty(&job).unwrap_or_default()));
    }
    if let Some(raw) = &letter.raw_text {
        out.push_str(&format!("\nMessage that could not be read\n{}\n", clean_lines(raw)));
    }
    out.push_str(&format!(
        "\nedit it with: bul dlq edit {0}\nreplay it with: bul dlq replay {0}\n",
        short(&letter.id)
    ));
    out
}

/// One line per change.
pub(super) fn audit(lines: &[AuditLine]) -> String {
    if lines.is_empty() {
        return "nobody has changed a dead letter".into();
    }
    let row = |line: &AuditLine| {
        vec![
            line.at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            cut(&line.actor, ACTOR_CHARS_MAX),
            line.action.clone(),
            short(&line.job),
            line.detail.clone(),
        ]
    };
    table(&["AT", "BY", "ACTION", "ID", "DETAIL"], &lines.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use bul_dlq_replayer::{EditReport, Refusal};
    use bul_job::JobId;

    use super::*;

    #[test]
    fn reports_are_sentences() {
        let report = BulkReport { matched: 3, replayed: Some(2), skipped: 1, ..BulkReport::default() };
        assert_eq!(
            super::report(&report, "replayed"),
            "2 of 3 dead letters replayed, 1 skipped (not dead any more)\n"
        );
        let dry = BulkReport { matched: 7, dry_run: true, ..BulkReport::default() };
        assert_eq!(super::report(&dry, "purged"), "7 dead letters would be purged\n");
    }

    #[test]
    fn a_dry_run_shows_the_edit_and_what_is_in_its_way() {
        let id = JobId::new();
        let edit = EditReport { id, changed: true, diff: "-a\n+b\n".into(), dry_run: true };
        let report = BulkReport {
            matched: 2,
            dry_run: true,
            edits: vec![edit],
            refusals: vec![Refusal { id, message: "/data/a: must be a number".into() }],
            halted: Some("model is down for worker-1".into()),
            ..BulkReport::default()
        };
        let expected = format!(
            "2 dead letters would be replayed\n-a\n+b\n{id} stays as it is: /data/a: must be a number\n\
             it would halt at present: model is down for worker-1\n"
        );
        assert_eq!(super::report(&report, "replayed"), expected);
    }
}
