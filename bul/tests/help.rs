//! Every command explains itself, with an example.

mod support;

use support::Bul;

fn check(path: &str, phrases: &[&str]) {
    let mut arguments: Vec<&str> = path.split_whitespace().collect();
    arguments.push("--help");
    let ran = Bul::new().run(&arguments);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{path}");
    assert!(ran.out.contains("Usage: bul"), "{path}: {}", ran.out);
    assert!(path.is_empty() || ran.out.contains("Example"), "{path} has no example: {}", ran.out);
    for phrase in phrases.iter().chain(&["--output", "--config"]) {
        assert!(ran.out.contains(phrase), "{path}: {phrase:?} is missing in {}", ran.out);
    }
    assert!(ran.out.lines().all(|line| line.chars().count() <= 110), "{path} is too wide: {}", ran.out);
}

#[test]
fn the_program_says_where_to_start() {
    check("", &["bul demo", "bul up", "bul submit", "Turns business events into finished documents"]);
}

#[test]
fn submitting_and_jobs() {
    check(
        "submit",
        &[
            "--wait",
            "--out",
            "--as",
            "--template",
            "--format",
            "--priority",
            "--idempotency-key",
            "--set",
            "--query",
            "--schema",
            "--area",
            "--type",
            "--timeout",
        ],
    );
    check("jobs", &["list", "show", "watch", "cancel", "document"]);
    check("jobs list", &["--state", "--template", "--limit"]);
    check("jobs show", &["<ID>"]);
    check("jobs watch", &["stderr"]);
    check("jobs cancel", &["<IDS>..."]);
    check("jobs document", &["--format", "--out"]);
}

#[test]
fn schedules_and_dead_letters() {
    check("schedule", &["run-now", "cron expression"]);
    check("schedule add", &["--cron", "--timezone", "--missed", "skip", "once", "all"]);
    for verb in ["list", "remove", "pause", "resume", "run-now"] {
        check(&format!("schedule {verb}"), &[]);
    }
    check("schedule next", &["--count"]);
    check("dlq", &["Filter keys"]);
    check("dlq list", &["--filter", "--limit"]);
    check("dlq show", &["<ID>"]);
    check("dlq edit", &["--set", "--file", "--dry-run", "--yes", "EDITOR"]);
    check(
        "dlq replay",
        &["--filter", "--all", "--rate", "--set", "--dry-run", "--ignore-breakers", "--force"],
    );
    check("dlq audit", &["--limit"]);
    check("dlq purge", &["--filter", "--yes"]);
}

#[test]
fn templates_keys_and_accounts() {
    check("template", &["list", "show", "check", "render"]);
    check("template list", &[]);
    check("template show", &[]);
    check("template check", &["<DIR>"]);
    check("template render", &["--data", "--format", "--out", "--language", "--model"]);
    check("key", &["create", "list", "revoke"]);
    check("key create", &["--name", "--tenant", "--permission", "read", "submit", "operate"]);
    check("key list", &[]);
    check("key revoke", &["<ID>"]);
    check("ledger", &["equation"]);
    check("usage", &["--since"]);
}

/// What the program writes itself is committed as it writes it.
#[test]
fn the_committed_pages_are_the_printed_ones() {
    for page in ["configuration", "metrics"] {
        let printed = Bul::new().run(&["reference", page]);
        let file = format!("{}/../docs/{page}.md", env!("CARGO_MANIFEST_DIR"));
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            printed.code == 0 && printed.out == committed,
            "write what `bul reference {page}` prints to {file}"
        );
    }
}

#[test]
fn settings() {
    check("config", &["defaults < file < environment < flags"]);
    for verb in ["check", "show", "schema"] {
        check(&format!("config {verb}"), &[]);
    }
    check("reference", &["configuration", "metrics"]);
    check("migrate", &["schema"]);
    check("completions", &["bash", "zsh", "fish"]);
}
