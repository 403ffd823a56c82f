//! Programs in other languages, with nothing but their standard libraries, and a real browser.

use bul_tests::{Server, ServerOptions, repository, run};

#[test]
fn a_python_program_submits_and_fetches() {
    let server = Server::start(ServerOptions::default().scripted());
    let script = repository().join("tests/it/clients/submit.py").display().to_string();
    let out = run("python3", &[&script, &server.url(), &server.key()]);
    assert!(out.contains("completed"), "{out}");
}

#[test]
fn a_node_program_submits_and_follows_events() {
    let server = Server::start(ServerOptions::default().scripted());
    let script = repository().join("tests/it/clients/events.mjs").display().to_string();
    let out = run("node", &[&script, &server.url(), &server.key()]);
    assert!(out.contains("state completed"), "{out}");
}

/// Pages open in a browser under the strictest of conditions: no network, no script.
#[test]
fn produced_pages_open_in_a_browser() {
    let server = Server::start(ServerOptions::default().scripted());
    let demo = |file: &str| repository().join("bul/demo").join(file).display().to_string();
    for file in ["invoice.xml", "sales.csv", "contract.json", "incident.json"] {
        server.cli(&["submit", &demo(file), "--wait", "--out", "pages", "--format", "html"]).expect(0);
    }
    for entry in std::fs::read_dir(server.home().join("pages")).unwrap() {
        let page = entry.unwrap().path();
        let profile = tempfile::tempdir().unwrap();
        let dom = run(
            "chromium",
            &[
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                &format!("--user-data-dir={}", profile.path().display()),
                "--dump-dom",
                &format!("file://{}", page.display()),
            ],
        );
        assert!(dom.contains("<main") && dom.contains("</h1>"), "{}: {dom:.500}", page.display());
        assert!(!dom.contains("<script"), "{}", page.display());
    }
}

/// The Nu HTML checker finds no error in any produced page.
#[test]
fn produced_pages_are_valid_html() {
    let Ok(jar) = std::env::var("BUL_TEST_VNU_JAR") else {
        println!("note: BUL_TEST_VNU_JAR is not set, pages are not checked; make test sets it");
        return;
    };
    let server = Server::start(ServerOptions::default());
    server
        .cli(&[
            "submit",
            "--query",
            "Quality handbook for a bakery",
            "--wait",
            "--out",
            "pages",
            "--format",
            "html",
        ])
        .expect(0);
    for file in ["invoice.xml", "sales.csv", "contract.json", "incident.json", "push.json"] {
        let path = repository().join("bul/demo").join(file).display().to_string();
        server.cli(&["submit", &path, "--wait", "--out", "pages", "--format", "html"]).expect(0);
    }
    let pages: Vec<String> = std::fs::read_dir(server.home().join("pages"))
        .unwrap()
        .map(|f| f.unwrap().path().display().to_string())
        .collect();
    assert_eq!(pages.len(), 6);
    let mut arguments = vec!["-jar", &jar, "--errors-only"];
    arguments.extend(pages.iter().map(String::as_str));
    run("java", &arguments);
}
