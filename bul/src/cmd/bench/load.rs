//! What the benchmark submits: a small template of its own, and jobs of about 500 bytes for it.

use std::path::Path;

use bul_config::Loaded;
use bul_job::{RawJob, TenantId};
use serde_json::{Value, json};

use crate::context::Context;
use crate::system::{Roles, System};
use crate::wire;

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

/// The same configuration with the scripted model, the benchmark's template, room for all `jobs`, and workers of a
/// given concurrency.
pub(super) fn scripted(context: &Context, concurrency: usize, jobs: u64, templates: &Path) -> Context {
    let mut config = context.config().clone();
    config.model.spec = "scripted".into();
    config.templates_dir = templates.display().to_string();
    config.worker.concurrency = concurrency.max(1);
    config.limits.broker_messages_max = config.limits.broker_messages_max.max(jobs as usize + 1_000);
    let loaded = Loaded { config, origins: context.loaded.origins.clone(), warnings: Vec::new() };
    Context { loaded, file: context.file.clone(), ..*context }
}

/// Starts a system, measures on it and ends it, whatever came of it.
pub(super) async fn on_system<T>(
    context: &Context,
    workers: usize,
    measure: impl AsyncFnOnce(&mut System) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (store, broker) = (wire::store_spec(context)?, wire::broker_spec(context.config())?);
    let roles = Roles { workers, scheduler: true, alone: true };
    let mut system = System::start(context, &store, &broker, roles).await?;
    let measured = measure(&mut system).await;
    system.shutdown.halt();
    system.join().await?;
    measured
}

/// A tenant that nobody else has, so that the ledger says what came of this run.
pub(super) fn tenant() -> anyhow::Result<TenantId> {
    Ok(format!("bench-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]).parse()?)
}

/// The value below which `share` of sorted values lie.
pub(super) fn at(sorted: &[f64], share: f64) -> Option<f64> {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied()
}

/// The value in the middle.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Job number `n` with about `bytes` of payload.
pub(super) fn job(n: u64, bytes: usize) -> RawJob {
    let Value::Object(data) = data(n, bytes) else { return RawJob::default() };
    RawJob {
        template: Some(TEMPLATE.into()),
        data: Some(data),
        formats: Some(vec!["json".into()]),
        ..RawJob::default()
    }
}

/// The same job as a program sends it.
pub(super) fn job_json(n: u64, bytes: usize) -> Value {
    json!({"template": TEMPLATE, "data": data(n, bytes), "formats": ["json"]})
}

fn data(n: u64, bytes: usize) -> Value {
    json!({
        "number": format!("DN-{n:08}"),
        "customer": "Hafenlogistik Ostsee AG",
        "remark": "x".repeat(bytes.saturating_sub(200)),
    })
}
