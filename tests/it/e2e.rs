//! The main job as a newcomer sees it: `bul demo`, then a server and a client.

use bul_tests::{Ran, Server, ServerOptions, bul, page_count, pdf_text, run, sqlite};

/// Formats, facts and areas of the demo's documents, as the manager reads them.
#[test]
fn the_demo_writes_finished_documents() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let ran = Ran::of(bul(home.path()).args(["demo", "--out", "out"])).expect(0);
    assert!(ran.out.contains(" accepted = "), "{}", ran.out);

    let files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|f| f.unwrap().path()).collect();
    let pdfs: Vec<_> = files.iter().filter(|f| f.extension().is_some_and(|e| e == "pdf")).collect();
    assert!(pdfs.len() >= 9, "{files:?}");
    for pdf in &pdfs {
        run("qpdf", &["--check", &pdf.display().to_string()]);
        let text = pdf_text(pdf);
        assert!(page_count(pdf) >= 1 && text.len() > 300, "{}: {text}", pdf.display());
        assert!(!text.contains('[') && !text.contains("Slot"), "{} holds a loose end: {text}", pdf.display());
    }
    let invoice = pdfs.iter().find(|f| f.display().to_string().contains("invoice")).expect("an invoice");
    let text = pdf_text(invoice);
    for fact in
        ["NB-2026-0417", "Nordbau Brandschutz GmbH", "Hafenlogistik Ostsee AG", "Fire doors T30", "7,489.52"]
    {
        assert!(text.contains(fact), "{fact:?} is missing in {text}");
    }
}

#[test]
fn the_demo_speaks_json_and_repeats_itself() {
    let home = tempfile::tempdir().unwrap();
    let first = Ran::of(bul(home.path()).args(["demo", "--out", "a", "-o", "json"])).expect(0).json();
    let total = &first["ledger"]["total"];
    assert_eq!(total["accepted"], total["completed"]);
    assert!(first["jobs"].as_array().unwrap().len() >= 9);
    let cached: u64 =
        first["jobs"].as_array().unwrap().iter().map(|j| j["cached_tokens"].as_u64().unwrap()).sum();
    assert!(cached > 0, "documents of one template share their prefix: {first}");
}

#[test]
fn submit_wait_show_and_fetch_over_http() {
    let server = Server::start(ServerOptions::default());
    let input =
        r#"{"query": "Write an HR policy for remote work", "formats": ["pdf", "md", "html", "json"]}"#;
    let ran =
        server.cli_with_input(&["submit", "-", "--wait", "--out", "docs", "-o", "json"], input).expect(0);
    let job = first_job(&ran.json());
    let id = job["id"].as_str().unwrap().to_owned();
    let files: Vec<_> = std::fs::read_dir(server.home().join("docs")).unwrap().collect();
    assert_eq!(files.len(), 4);

    let shown = server.cli(&["jobs", "show", &id, "-o", "json"]).expect(0).json();
    assert_eq!(shown["state"], "completed");
    assert!(shown["usage"]["output_tokens"].as_u64().unwrap() > 0);
    let md = server.cli(&["jobs", "document", &id, "--format", "md"]).expect(0).out;
    assert!(md.to_lowercase().contains("remote work") && md.starts_with("# "), "{md}");
    assert_eq!(server.ledger()["completed"], 1);
    let models = sqlite(&server.database(), "SELECT count(*) FROM documents");
    assert_eq!(models, ["4"]);
}

#[test]
fn sigterm_drains_and_hands_back() {
    let options =
        ServerOptions::default().with("BUL_WORKER_GRACE_S", "1").with("BUL_WORKER_CONCURRENCY", "2");
    let mut server = Server::start(options);
    let jobs: String = (0..30)
        .map(|n| format!("{{\"query\": \"Sales plan number for region {n}\", \"formats\": [\"md\"]}}\n"))
        .collect();
    server.cli_with_input(&["submit", "-"], &jobs).expect(0);
    assert_eq!(server.terminate(), 0);
    let total = server.ledger();
    assert_eq!(total["accepted"], 30);
    assert_eq!(total["running"], 0, "work in hand was finished or handed back: {total}");
    server.restart();
    assert_eq!(server.settle()["completed"], 30);
    let spent = sqlite(&server.database(), "SELECT count(*) FROM jobs WHERE failures > 0 OR crashes > 0");
    assert_eq!(spent, ["0"], "a shutdown spends no attempt");
}

fn first_job(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Array(jobs) => jobs[0].clone(),
        other => other.clone(),
    }
}
