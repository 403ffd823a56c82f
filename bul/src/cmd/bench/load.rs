//! What the benchmark submits: a small template of its own, and jobs of about 500 bytes for it.

use std::path::Path;

use bul_job::RawJob;
use serde_json::{Value, json};

/// Name of the template.
const TEMPLATE: &str = "bench-note";

const MANIFEST: &str = r#"
name = "bench-note"
title = "Delivery note"
business_area = "operations"
doc_type = "note"
document_title = "Delivery note {{ data.number }}"

[[facts]]
name = "customer"
pointer = "/customer"
"#;

const SCHEMA: &str = r#"{
  "type": "object", "required": ["number", "customer"], "additionalProperties": false,
  "properties": {"number": {"type": "string"}, "customer": {"type": "string"}, "remark": {"type": "string"}}
}"#;

const BODY: &str = r#"Delivery for {{ data.customer }}.

{{ prose("note", section="Note", facts=["customer"], sentences=1) }}
"#;

/// Writes the package into a folder of packages.
pub(super) fn write_template(folder: &Path) -> std::io::Result<()> {
    let package = folder.join(TEMPLATE);
    std::fs::create_dir_all(&package)?;
    std::fs::write(package.join("template.toml"), MANIFEST)?;
    std::fs::write(package.join("schema.json"), SCHEMA)?;
    std::fs::write(package.join("body.md"), BODY)
}

/// Job number `n` with about `bytes` of payload.
pub(super) fn job(n: u64, bytes: usize) -> RawJob {
    let data = json!({
        "number": format!("DN-{n:08}"),
        "customer": "Hafenlogistik Ostsee AG",
        "remark": "x".repeat(bytes.saturating_sub(200)),
    });
    let Value::Object(data) = data else { return RawJob::default() };
    RawJob {
        template: Some(TEMPLATE.into()),
        data: Some(data),
        formats: Some(vec!["json".into()]),
        ..RawJob::default()
    }
}
