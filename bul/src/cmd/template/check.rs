//! `bul template check`: everything that is wrong with a package, before it is put to work.

use std::path::Path;

use bul_template::{CheckReport, SampleReport, check_dir};

use super::template_fault;
use crate::client::print::clean;
use crate::context::Context;
use crate::exit::{Exit, Fault};

/// Checks a package and renders each of its samples; exit 1 when something is wrong.
pub(super) fn run(context: &Context, folder: &Path) -> anyhow::Result<Exit> {
    if !folder.is_dir() {
        return Err(Fault::not_found(format!("{} is no folder", folder.display())).into());
    }
    let report = check_dir(folder).map_err(template_fault)?;
    context.print(&report, || text(&report))?;
    Ok(if report.is_ok() { Exit::Done } else { Exit::Failed })
}

fn text(report: &CheckReport) -> String {
    let mut out = format!("template {}\n", clean(&report.name));
    if !report.variables.is_empty() {
        out.push_str(&format!("reads    {}\n", clean(&report.variables.join(", "))));
    }
    for sample in &report.samples {
        out.push_str(&sample_text(sample));
    }
    for problem in &report.problems {
        out.push_str(&format!("problem  {}\n", clean(problem)));
    }
    out.push_str(if report.is_ok() { "the package is sound\n" } else { "the package has problems\n" });
    out
}

fn sample_text(sample: &SampleReport) -> String {
    let name = clean(&sample.name);
    let mut out = match &sample.error {
        Some(error) => format!("sample   {name}: {}\n", clean(error)),
        None => format!("sample   {name}: {} blocks, {} prose slots\n", sample.blocks, sample.slots),
    };
    for finding in &sample.findings {
        out.push_str(&format!("         {}: {}\n", clean(&finding.rule), clean(&finding.message)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_name_samples_and_problems() {
        let sample = |name: &str, error: Option<&str>| SampleReport {
            name: name.into(),
            blocks: 4,
            slots: 1,
            error: error.map(Into::into),
            findings: Vec::new(),
        };
        let mut report = CheckReport {
            name: "quote".into(),
            variables: vec!["data.total".into()],
            problems: Vec::new(),
            samples: vec![sample("a.json", None)],
        };
        assert!(text(&report).contains("sample   a.json: 4 blocks, 1 prose slots\nthe package is sound"));
        report.samples.push(sample("b.json", Some("/total: missing")));
        assert!(text(&report).ends_with("sample   b.json: /total: missing\nthe package has problems\n"));
    }
}
