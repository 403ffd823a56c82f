//! The HTML of all samples passes the Nu validator without errors.
//!
//! Warnings are left out: the validator does not compare the hash of the style sheet with the
//! content security policy and warns of every style sheet; browsers do compare it.
//!
//! `BUL_VNU_JAR` names `vnu.jar` (npm package `vnu-jar`, needs Java 11 or later); without it the
//! test says so and passes, as the validator is 32 MB of Java.

mod common;

use std::process::Command;

use bul_document::write_html;

#[test]
fn samples_are_valid_html() {
    let Some(jar) = std::env::var_os("BUL_VNU_JAR").filter(|jar| !jar.is_empty()) else {
        eprintln!("BUL_VNU_JAR is not set: HTML not validated");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    for (name, document) in common::samples() {
        std::fs::write(folder.path().join(format!("{name}.html")), write_html(&document)).expect("written");
    }
    let output = Command::new("java")
        .args(["-Xss4m", "-jar"])
        .arg(jar)
        .args(["--format", "gnu", "--errors-only", "--stdout", "--skip-non-html"])
        .arg(folder.path())
        .output()
        .expect("java");
    let messages = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && messages.trim().is_empty(), "{messages}");
}
