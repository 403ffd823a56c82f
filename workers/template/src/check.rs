//! `bul template check`: what a package author should know before anybody uses the package.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::Value;

use crate::catalog::Order;
use crate::error::TemplateError;
use crate::finding::Finding;
use crate::package::{self, Template};
use crate::placeholder::placeholder_prose;
use crate::plan;

/// Names every body may use without declaring them.
const KNOWN: &[&str] = &[
    "data",
    "language",
    "date",
    "query",
    "add",
    "sub",
    "mul",
    "div",
    "round",
    "sum",
    "group_by",
    "table",
    "chart",
    "key_values",
    "columns",
    "callout",
    "definitions",
    "signature",
    "page_break",
    "prose",
    "part",
    "fact",
    "has_fact",
    "t",
    "range",
    "dict",
    "namespace",
    "debug",
    "loop",
    "self",
    "super",
    "caller",
    "true",
    "false",
    "none",
];

/// What was found in a package.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// Name of the template.
    pub name: String,
    /// Members of the data the body reads, as `data.x.y`.
    pub variables: Vec<String>,
    /// Things that will fail or are likely mistakes; empty for a sound package.
    pub problems: Vec<String>,
    /// How each sample rendered.
    pub samples: Vec<SampleReport>,
}

impl CheckReport {
    /// Whether nothing was found.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.samples.iter().all(|sample| sample.error.is_none())
    }
}

/// How one sample rendered, with stand-in prose.
#[derive(Debug, Clone, Serialize)]
pub struct SampleReport {
    /// File name.
    pub name: String,
    /// Blocks of the document.
    pub blocks: usize,
    /// Prose slots.
    pub slots: usize,
    /// Why it failed.
    pub error: Option<String>,
    /// Findings, as any job with this data would have.
    pub findings: Vec<Finding>,
}

/// Checks a package directory. Syntax errors and broken files are errors; everything that can be
/// reported together is in the report.
pub fn check_dir(path: &Path) -> Result<CheckReport, TemplateError> {
    let template = Template::parse(package::read_dir(path)?, false)?;
    let mut problems = Vec::new();
    let mut variables = BTreeSet::new();
    for name in template.body_names() {
        let body = template
            .env
            .get_template(&name)
            .map_err(|error| crate::body::to_error(template.name(), &error))?;
        undeclared(&template, &name, body.undeclared_variables(true), &mut variables, &mut problems);
    }
    if template.samples().is_empty() {
        problems.push("there are no samples; add samples/<name>.json to have them rendered".into());
    }
    let samples: Vec<SampleReport> =
        template.samples().iter().map(|(name, data)| render(&template, name, data)).collect();
    problems.sort();
    problems.dedup();
    Ok(CheckReport {
        name: template.name().to_owned(),
        variables: variables.into_iter().collect(),
        problems,
        samples,
    })
}

/// Sorts the names a body uses into data members and names nobody declares.
fn undeclared(
    template: &Template,
    body: &str,
    names: impl IntoIterator<Item = String>,
    variables: &mut BTreeSet<String>,
    problems: &mut Vec<String>,
) {
    let prepared = template.preparer != crate::compute::Preparer::Generic;
    for name in names {
        let root = name.split('.').next().unwrap_or_default();
        if root == "data" {
            if !declared(template.schema(), name.split('.').skip(1)) {
                problems.push(format!("{body}: `{name}` is not in the schema"));
            }
            variables.insert(name);
        } else if !KNOWN.contains(&root) && !prepared {
            problems.push(format!("{body}: undeclared variable `{name}`"));
        }
    }
}

/// Whether a schema knows a path of members. Open schemas know everything.
fn declared<'a>(schema: &Value, path: impl Iterator<Item = &'a str>) -> bool {
    let mut at = schema;
    for step in path {
        at = resolve(schema, at);
        let Some(properties) = at.get("properties") else { return true };
        match properties.get(step) {
            Some(next) => at = next,
            None => return at.get("additionalProperties") != Some(&Value::Bool(false)),
        }
    }
    true
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn render(template: &Template, name: &str, sample: &Value) -> SampleReport {
    let mut report =
        SampleReport { name: name.to_owned(), blocks: 0, slots: 0, error: None, findings: Vec::new() };
    let Some(data) = sample.as_object() else {
        report.error = Some("a sample must be an object".into());
        return report;
    };
    let order = Order {
        template: template.name(),
        query: None,
        business_area: None,
        doc_type: None,
        data,
        context: None,
        response_schema: None,
        language: template.manifest.languages.first().map_or("en", String::as_str),
        date: NaiveDate::default(),
    };
    match stand_in(template, &order) {
        Ok((slots, assembled)) => {
            report.slots = slots;
            report.blocks = assembled.document.blocks.len();
            report.findings = assembled.findings;
        }
        Err(error) => {
            let fields: Vec<String> =
                error.fields().iter().map(|(at, message)| format!("{at}: {message}")).collect();
            report.error = Some(if fields.is_empty() { error.to_string() } else { fields.join("; ") });
        }
    }
    report
}

/// Plans and assembles with stand-in prose.
fn stand_in(template: &Template, order: &Order) -> Result<(usize, crate::Assembled), TemplateError> {
    let mut plan = plan::make(template, order)?;
    if plan.outline().is_some() {
        plan.expand(&[])?;
    }
    let texts: BTreeMap<String, String> =
        plan.slots().iter().map(|slot| (slot.id.clone(), placeholder_prose(slot))).collect();
    Ok((plan.slots().len(), plan.assemble(&texts)?))
}
