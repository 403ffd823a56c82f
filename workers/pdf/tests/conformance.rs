//! All samples conform to PDF/UA-1 and PDF/A-3a, says a validator that is not typst's own.
//!
//! `BUL_PAGE_PYTHON` names a Python interpreter with the package `page-validation`; without it the
//! test says so and passes.

#[path = "../../document/tests/common/mod.rs"]
mod common;

use std::process::Command;

use bul_pdf::PdfWriter;

const SCRIPT: &str = "
import sys, page
for path in sys.argv[1:]:
    for profile in ('ua1', '3a'):
        report = page.validate_pdf(path, profile=profile)
        for failure in report.failures:
            print(path, profile, failure.rule_id, failure.message)
        if not report.is_compliant:
            print(path, profile, 'does not conform')
";

#[test]
fn samples_conform() {
    let Some(python) = std::env::var_os("BUL_PAGE_PYTHON").filter(|python| !python.is_empty()) else {
        eprintln!("BUL_PAGE_PYTHON is not set: PDF/UA-1 and PDF/A-3a not validated");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let writer = PdfWriter::new();
    let mut paths = Vec::new();
    for (name, document) in common::samples() {
        let path = folder.path().join(format!("{name}.pdf"));
        std::fs::write(&path, writer.write(&document).expect("a PDF")).expect("written");
        paths.push(path);
    }
    let output = Command::new(python).arg("-c").arg(SCRIPT).args(&paths).output().expect("python");
    let findings = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(findings.is_empty(), "{findings}");
}
