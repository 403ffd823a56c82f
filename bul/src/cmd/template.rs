//! `bul template`: what templates there are, whether a package is sound, a document without a server.
//!
//! All of it is local: the shipped templates and those of `templates_dir`, as a server with the same
//! configuration has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bul_job::Format;
use bul_template::{Catalog, Order, Template, TemplateError, TemplateInfo, placeholder_prose};
use chrono::Utc;
use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::client::print::{cut, pairs, table};
use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::wire;

mod check;
mod render;

/// Templates: look at them, check your own, render one without a server.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bul template list\n  bul template show invoice\n  bul template check my-templates/quote\n  bul template render invoice --data invoice.json --format pdf --out invoice.pdf"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All templates: the shipped ones and those of templates_dir
    #[command(after_help = "Example:\n  bul template list -o json | jq '.[].name'")]
    List,
    /// One template: its facts, the schema of its data, a sample
    #[command(after_help = "Example:\n  bul template show invoice -o json | jq .sample > invoice.json")]
    Show {
        /// Name
        name: String,
    },
    /// Check a template package: everything that is wrong, and each sample rendered
    #[command(after_help = "Example:\n  bul template check my-templates/quote")]
    Check {
        /// Folder of the package
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Render a template here and now; placeholder sentences stand in for the model
    #[command(
        after_help = "Examples:\n  bul template render invoice --data invoice.json --format pdf --out invoice.pdf\n  bul template render weekly-report --format md\n  bul template render document --query 'A plan' --format md --model"
    )]
    Render(render::Args),
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    match args.action {
        Action::List => {
            let list = wire::open_catalog(context)?.list();
            context.print(&list, || list_text(&list))?;
            Ok(Exit::Done)
        }
        Action::Show { name } => show(context, &name),
        Action::Check { folder } => check::run(context, &folder),
        Action::Render(args) => render::run(args, context).await,
    }
}

fn list_text(list: &[TemplateInfo]) -> String {
    let row = |info: &TemplateInfo| {
        let languages = if info.languages.is_empty() { "any".into() } else { info.languages.join(",") };
        let origin = if info.builtin { "shipped" } else { "own" };
        vec![
            info.name.clone(),
            cut(&info.business_area, 14),
            cut(&languages, 10),
            origin.into(),
            cut(&info.title, 28),
        ]
    };
    table(&["NAME", "AREA", "LANGUAGES", "FROM", "TITLE"], &list.iter().map(row).collect::<Vec<_>>())
}

/// A template by name, or what names there are.
fn find<'a>(catalog: &'a Catalog, name: &str) -> anyhow::Result<&'a Template> {
    let known = || catalog.list().into_iter().map(|info| info.name).collect::<Vec<_>>().join(", ");
    let found = catalog.get(name);
    Ok(found.ok_or_else(|| {
        Fault::not_found(format!("there is no template {name:?}")).hint(format!("there are: {}", known()))
    })?)
}

fn show(context: &Context, name: &str) -> anyhow::Result<Exit> {
    let catalog = wire::open_catalog(context)?;
    let template = find(&catalog, name)?;
    let info = template.info();
    let sample = template.samples().first();
    let facts = match sample {
        Some((_, data)) => facts_of(&catalog, name, data)?,
        None => Vec::new(),
    };
    let mut value = serde_json::to_value(&info)?;
    value["facts"] = Value::Array(
        facts
            .iter()
            .map(|(name, value, from)| json!({"name": name, "value": value, "origin": from}))
            .collect(),
    );
    value["schema"] = template.schema().clone();
    value["sample"] = sample.map_or(Value::Null, |(_, data)| data.clone());
    let schema = serde_json::to_string_pretty(template.schema())?;
    let sample_text =
        sample.map(|(file, data)| (file.clone(), serde_json::to_string_pretty(data).unwrap_or_default()));
    context.print(&value, || {
        let languages = if info.languages.is_empty() { "any".into() } else { info.languages.join(", ") };
        let mut out = pairs(&[
            ("name", info.name.clone()),
            ("title", info.title.clone()),
            ("area", info.business_area.clone()),
            ("type", info.doc_type.clone()),
            ("version", info.version.clone()),
            ("languages", languages),
            ("about", info.description.clone()),
        ]);
        if !facts.is_empty() {
            let rows: Vec<Vec<String>> = facts
                .iter()
                .map(|(name, value, from)| vec![name.clone(), cut(value, 28), cut(from, 24)])
                .collect();
            out.push_str(&format!(
                "\nFacts, with the values of the sample\n{}",
                table(&["NAME", "VALUE", "FROM"], &rows)
            ));
        }
        out.push_str(&format!("\nSchema of the data\n{schema}\n"));
        if let Some((file, text)) = &sample_text {
            out.push_str(&format!("\nSample {file}\n{text}\n"));
        }
        out
    })?;
    Ok(Exit::Done)
}

/// Names, values and origins of the facts a document of this data has.
fn facts_of(catalog: &Catalog, name: &str, data: &Value) -> anyhow::Result<Vec<(String, String, String)>> {
    let empty = Map::new();
    let order = order(name, data.as_object().unwrap_or(&empty), "en", None);
    let plan = catalog.plan(&order).map_err(template_fault)?;
    let texts: BTreeMap<String, String> =
        plan.slots().iter().map(|slot| (slot.id.clone(), placeholder_prose(slot))).collect();
    let document = plan.assemble(&texts).map_err(template_fault)?.document;
    Ok(document.facts.into_iter().map(|fact| (fact.name, fact.value, fact.origin)).collect())
}

fn order<'a>(
    template: &'a str,
    data: &'a Map<String, Value>,
    language: &'a str,
    query: Option<&'a str>,
) -> Order<'a> {
    let date = Utc::now().date_naive();
    Order {
        template,
        query,
        business_area: None,
        doc_type: None,
        data,
        context: None,
        response_schema: None,
        language,
        date,
    }
}

/// What a template's error means for the user; data errors are listed by place.
fn template_fault(error: TemplateError) -> anyhow::Error {
    let fields = error.fields();
    match error {
        TemplateError::Unknown { .. } => Fault::not_found(error.to_string()).into(),
        TemplateError::Data { ref template, .. } => {
            let mut message = format!("the data does not fit template {template:?}");
            for (pointer, text) in fields {
                let place = if pointer.is_empty() { "/".to_owned() } else { pointer };
                message.push_str(&format!("\n  {place}: {text}"));
            }
            Fault::usage(message).hint(format!("see what it wants with: bul template show {template}")).into()
        }
        TemplateError::Body { .. }
        | TemplateError::Package { .. }
        | TemplateError::Plan(_)
        | TemplateError::AnswerSchema(_)
        | TemplateError::Answer { .. } => Fault::failed(error.to_string()).into(),
        TemplateError::Read { ref source, .. } => Fault::usage(format!("{error}: {source}")).into(),
    }
}

/// A writer's name for a format of the contract.
fn writer(format: Format) -> Option<bul_document::Format> {
    match format {
        Format::Md => Some(bul_document::Format::Md),
        Format::Html => Some(bul_document::Format::Html),
        Format::Json => Some(bul_document::Format::Json),
        Format::Txt => Some(bul_document::Format::Txt),
        Format::Pdf => None,
    }
}

/// The data in a file: an object.
fn read_data(path: &Path) -> anyhow::Result<Map<String, Value>> {
    const DATA_BYTES_MAX: usize = 8 * 1024 * 1024;
    let name = path.display().to_string();
    let bytes = crate::client::input::read(&name, DATA_BYTES_MAX)?;
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|e| Fault::usage(format!("{name}: not valid JSON: {e}")))?;
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(Fault::usage(format!("{name}: the data must be a JSON object")).into()),
    }
}
