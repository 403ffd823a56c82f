//! `bul template render`: data to a document in one go, without store, broker or server.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use bul_document::Document;
use bul_engine::{Constraint, Generate, Message, Request, Role, Sampling, Scope};
use bul_job::Format;
use bul_pdf::PdfWriter;
use bul_template::{Finding, Plan, placeholder_prose};
use tokio_util::sync::CancellationToken;

use super::{find, order, read_data, template_fault, writer};
use crate::client::files::write_whole;
use crate::client::print::{bytes, clean};
use crate::context::{Context, write_stdout};
use crate::exit::{Exit, Fault};
use crate::wire;

/// Room for one sentence and one heading, tokens.
const TOKENS_PER_SENTENCE: usize = 64;
const TOKENS_PER_HEADING: usize = 24;

/// What to render.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Template
    name: String,
    /// File with the data, a JSON object; the template's first sample if not given
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// md, html, pdf, json or txt
    #[arg(long, value_parser = crate::cmd::jobs::format)]
    format: Format,
    /// File instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Language of the document
    #[arg(long, default_value = "en")]
    language: String,
    /// Request in words, for templates that take one
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// Have the prose written by the configured model
    #[arg(long)]
    model: bool,
}

/// Renders and writes.
pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    if args.out.is_none() && args.format == Format::Pdf && std::io::stdout().is_terminal() {
        return Err(Fault::usage("a PDF on the terminal is of no use to anyone")
            .hint("add --out FILE")
            .into());
    }
    let catalog = wire::open_catalog(context)?;
    let template = find(&catalog, &args.name)?;
    let data = match (&args.data, template.samples().first()) {
        (Some(path), _) => read_data(path)?,
        (None, Some((file, sample))) if args.query.is_none() => {
            eprintln!("no --data given, the sample {file} is used");
            sample.as_object().cloned().unwrap_or_default()
        }
        (None, _) => serde_json::Map::new(),
    };
    let order = order(&args.name, &data, &args.language, args.query.as_deref());
    let mut plan = catalog.plan(&order).map_err(template_fault)?;
    let texts = if args.model {
        let model = wire::open_model(context.config(), None, None).await?;
        by_model(model.as_ref(), &mut plan).await?
    } else {
        by_placeholder(&mut plan)?
    };
    let made = plan.assemble(&texts).map_err(template_fault)?;
    for finding in &made.findings {
        eprintln!("{}", told(finding));
    }
    let document =
        bul_document::normalise(made.document).map_err(|e| Fault::failed(format!("the document: {e}")))?;
    let file = tokio::task::spawn_blocking(move || write(&document, args.format)).await??;
    match &args.out {
        Some(path) => {
            write_whole(path, &file)?;
            eprintln!("{} ({})", path.display(), bytes(file.len() as u64));
        }
        None => write_stdout(&file)?,
    }
    Ok(Exit::Done)
}

fn told(finding: &Finding) -> String {
    let severity = format!("{:?}", finding.severity).to_lowercase();
    let place = if finding.path.is_empty() { String::new() } else { format!(" {}", finding.path) };
    clean(&format!("{severity}: {}{place}: {}", finding.rule, finding.message))
}

fn write(document: &Document, format: Format) -> anyhow::Result<Vec<u8>> {
    let bytes = match writer(format) {
        Some(format) => bul_document::write(document, format).map_err(|e| Fault::failed(e.to_string()))?,
        None => PdfWriter::new().write(document).map_err(|e| Fault::failed(format!("PDF: {e}")))?,
    };
    Ok(bytes)
}

/// Sections and sentences that need no model. Without headings the plan takes its usual ones.
fn by_placeholder(plan: &mut Plan) -> anyhow::Result<BTreeMap<String, String>> {
    if plan.outline().is_some() {
        plan.expand(&[]).map_err(template_fault)?;
    }
    Ok(plan.slots().iter().map(|slot| (slot.id.clone(), placeholder_prose(slot))).collect())
}

async fn by_model(model: &dyn Generate, plan: &mut Plan) -> anyhow::Result<BTreeMap<String, String>> {
    if let Some(outline) = plan.outline() {
        let constraint = Constraint::Outline { items: outline.items };
        let ask = Ask {
            system: &outline.system,
            user: &outline.user,
            constraint,
            tokens: outline.items * TOKENS_PER_HEADING,
            seed: 0,
        };
        let text = ask.of(model).await?;
        let heading = |line: &str| line.trim().trim_start_matches("- ").trim().to_owned();
        let headings: Vec<String> = text.lines().map(heading).filter(|line| !line.is_empty()).collect();
        plan.expand(&headings).map_err(template_fault)?;
    }
    let mut texts = BTreeMap::new();
    for (index, slot) in plan.slots().iter().enumerate() {
        let constraint =
            Constraint::Prose { facts: slot.facts.clone(), sentences: slot.sentences, said: Vec::new() };
        let tokens = slot.sentences * TOKENS_PER_SENTENCE;
        // A seed of its own for every section, so that no two begin alike.
        let ask = Ask { system: &slot.system, user: &slot.user, constraint, tokens, seed: index as u64 + 1 };
        texts.insert(slot.id.clone(), ask.of(model).await?);
    }
    Ok(texts)
}

struct Ask<'a> {
    system: &'a str,
    user: &'a str,
    constraint: Constraint,
    tokens: usize,
    seed: u64,
}

impl Ask<'_> {
    async fn of(self, model: &dyn Generate) -> anyhow::Result<String> {
        let message = |role, text: &str, scope| Message { role, text: text.to_owned(), scope };
        let request = Request {
            id: format!("render/{}", self.seed),
            tenant: "default".into(),
            session: None,
            messages: vec![
                message(Role::System, self.system, Scope::Public),
                message(Role::User, self.user, Scope::Tenant),
            ],
            sampling: Sampling { max_tokens: self.tokens, seed: self.seed, ..Sampling::default() },
            stop: Vec::new(),
            constraint: Some(self.constraint),
            priority: 0,
        };
        let done = model.generate(request, None, CancellationToken::new()).await;
        Ok(done.map_err(|e| Fault::unavailable(format!("model: {e}")))?.text)
    }
}
