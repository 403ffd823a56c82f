//! Independent programs that look at what the product made.

use std::path::Path;
use std::process::Command;

/// Runs a program that must succeed and returns its standard output.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{err}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The text of a PDF as poppler reads it, in reading order, with single spaces.
#[track_caller]
pub fn pdf_text(path: &Path) -> String {
    let text = run("pdftotext", &["-enc", "UTF-8", &path.display().to_string(), "-"]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Number of pages.
#[track_caller]
pub fn page_count(path: &Path) -> usize {
    let info = run("pdfinfo", &[&path.display().to_string()]);
    info.lines()
        .find_map(|l| l.strip_prefix("Pages:"))
        .and_then(|n| n.trim().parse().ok())
        .expect("pdfinfo counts pages")
}

/// Asks a database through Python's own SQLite; one line per row, columns parted by `|`.
#[track_caller]
pub fn sqlite(database: &Path, query: &str) -> Vec<String> {
    const PROGRAM: &str = "import sqlite3,sys\nfor row in sqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2]): print('|'.join(map(str,row)))";
    let out = run("python3", &["-c", PROGRAM, &database.display().to_string(), query]);
    out.lines().map(ToOwned::to_owned).collect()
}

/// Where `make test-deps` puts what it installs.
pub fn installed(path: &str) -> String {
    bul_harness::tools().join(path).display().to_string()
}
