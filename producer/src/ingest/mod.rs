//! What systems send, turned into jobs: job JSON, CSV, UBL invoices, CloudEvents, webhooks.
//!
//! Invariant: pure. Bytes and hints in, jobs or an error that names every bad place out; no I/O, no
//! clock, and no input makes it panic, recurse without bound or grow without a named limit.
//! Called by `bul submit`, `POST /v1/ingest/{source}` and `POST /v1/jobs/batch`; what comes out is
//! still a [`RawJob`], which [`bul_job::ValidJob::parse`] has to accept.

mod cdevents;
mod cloudevents;
mod csv_jobs;
mod csv_text;
mod detect;
mod error;
mod event;
mod frappe;
mod github;
mod github_events;
mod gitlab;
mod json;
mod text;
mod ubl;
mod xml;

use bul_job::{PriorityInput, RawJob};

pub(crate) use cloudevents::JOB_SUBMITTED;
pub use error::{BAD_PLACES_MAX, IngestError, IngestErrorKind};

/// A kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// One job as a JSON object, or an array of jobs.
    Job,
    /// One job or event per line.
    Jsonl,
    /// One job per row, or figures for one report.
    Csv,
    /// UBL 2.1 Invoice or CreditNote.
    Ubl,
    /// CloudEvents 1.0 structured JSON, one or a batch.
    CloudEvents,
    /// CDEvents JSON, one or an array.
    Cdevents,
    /// A GitHub webhook delivery.
    Github,
    /// A GitLab webhook delivery.
    Gitlab,
    /// A Frappe / ERPNext document as its webhook sends it.
    Frappe,
    /// An Odoo `account.move`.
    Odoo,
    /// An S/4HANA billing document.
    Sap,
    /// Job JSON from any other system.
    Generic,
}

impl Source {
    /// Whether the idempotency key of its jobs is made here, from the event, and never by the sender.
    fn derives_keys(self) -> bool {
        match self {
            Self::Ubl | Self::Cdevents | Self::Github | Self::Gitlab | Self::Frappe => true,
            Self::Job
            | Self::Generic
            | Self::Jsonl
            | Self::Csv
            | Self::CloudEvents
            | Self::Odoo
            | Self::Sap => false,
        }
    }

    /// Every source, in the order shown to users.
    pub const ALL: [Source; 12] = [
        Self::Job,
        Self::Jsonl,
        Self::Csv,
        Self::Ubl,
        Self::CloudEvents,
        Self::Cdevents,
        Self::Github,
        Self::Gitlab,
        Self::Frappe,
        Self::Odoo,
        Self::Sap,
        Self::Generic,
    ];

    /// Its name; also the last segment of the ingest route.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Ubl => "ubl",
            Self::CloudEvents => "cloudevents",
            Self::Cdevents => "cdevents",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Frappe => "frappe",
            Self::Odoo => "odoo",
            Self::Sap => "sap",
            Self::Generic => "generic",
        }
    }

    /// Parses a name in any case; common other names are understood.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let alias = match name.as_str() {
            "json" | "jobs" => Some(Self::Job),
            "ndjson" => Some(Self::Jsonl),
            "tsv" => Some(Self::Csv),
            "xml" | "xrechnung" | "invoice" => Some(Self::Ubl),
            "cloudevent" | "ce" => Some(Self::CloudEvents),
            "erpnext" => Some(Self::Frappe),
            _ => None,
        };
        alias.or_else(|| Self::ALL.into_iter().find(|source| source.as_str() == name))
    }

    /// Recognises an input by headers, media type, file name and content, in this order.
    pub fn detect(
        bytes: &[u8],
        file_name: Option<&str>,
        media_type: Option<&str>,
        headers: &Hints,
    ) -> Result<Source, IngestError> {
        detect::detect(bytes, file_name, media_type, headers, &IngestLimits::default())
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about an input besides its bytes: headers of the request, flags of the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Name of the file; gives a report its title.
    pub file_name: Option<String>,
    /// `X-GitHub-Event`.
    pub github_event: Option<String>,
    /// `X-GitHub-Delivery`; the same delivery makes the same job.
    pub github_delivery: Option<String>,
    /// `X-Gitlab-Event`.
    pub gitlab_event: Option<String>,
    /// `X-Gitlab-Event-UUID`; the same delivery makes the same job.
    pub gitlab_delivery: Option<String>,
    /// `ce-type`: with `ce-id` and `ce-source` the body is a CloudEvent in binary mode.
    pub ce_type: Option<String>,
    /// `ce-id`.
    pub ce_id: Option<String>,
    /// `ce-source`.
    pub ce_source: Option<String>,
    /// Overrides the template of every job.
    pub template: Option<String>,
    /// Overrides the formats of every job.
    pub formats: Option<Vec<String>>,
    /// Overrides the priority of every job.
    pub priority: Option<String>,
    /// Overrides the language of every job.
    pub language: Option<String>,
    /// Overrides the business area of every job.
    pub business_area: Option<String>,
    /// Idempotency key; for a body of exactly one job.
    pub idempotency_key: Option<String>,
}

impl Hints {
    fn apply(&self, job: &mut RawJob) {
        let set = |field: &mut Option<String>, hint: &Option<String>| {
            if hint.is_some() {
                field.clone_from(hint);
            }
        };
        set(&mut job.template, &self.template);
        set(&mut job.language, &self.language);
        set(&mut job.business_area, &self.business_area);
        if self.formats.is_some() {
            job.formats.clone_from(&self.formats);
        }
        if let Some(priority) = &self.priority {
            job.priority = Some(priority_input(priority));
        }
    }
}

/// A priority as text: a whole number is a lane's number, all else its name.
fn priority_input(text: &str) -> PriorityInput {
    text.trim().parse().map_or_else(|_| PriorityInput::Name(text.trim().to_owned()), PriorityInput::Number)
}

/// Limits on one body. Each protects memory or time from one sender.
#[derive(Debug, Clone, Copy)]
pub struct IngestLimits {
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// Jobs in one body.
    pub items_max: usize,
    /// JSON values in one body, at all depths. serde_json itself bounds the depth to 128.
    pub json_values_max: usize,
    /// Rows of a CSV file, without its header.
    pub csv_rows_max: usize,
    /// Columns of a CSV file; what the weekly report accepts.
    pub csv_columns_max: usize,
    /// Cells of a CSV file, all together.
    pub csv_cells_max: usize,
    /// Nesting of XML elements.
    pub xml_depth_max: usize,
    /// Nodes of an XML document: elements, texts, comments.
    pub xml_nodes_max: u32,
    /// Attributes of one XML element; their uniqueness is checked pair by pair.
    pub xml_attributes_max: usize,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 * 1024 * 1024,
            items_max: 10_000,
            json_values_max: 2_000_000,
            csv_rows_max: 200_000,
            csv_columns_max: 200,
            csv_cells_max: 2_000_000,
            xml_depth_max: 64,
            xml_nodes_max: 1_000_000,
            xml_attributes_max: 128,
        }
    }
}

impl IngestLimits {
    pub(crate) fn check_items(&self, count: usize) -> Result<(), IngestError> {
        if count <= self.items_max {
            return Ok(());
        }
        Err(IngestError::too_large(format!(
            "the body holds more than {} jobs (items_max), split it",
            self.items_max
        )))
    }
}

/// Ends a derived key in a hash of the job. The same event sent twice stays one job; an invoice that
/// was corrected under its old number, or is wanted in another format, is another, where the bare
/// number would make it a conflict that its sender cannot resolve.
fn seal_key(job: &mut RawJob) {
    if let Some(key) = job.idempotency_key.take() {
        let content = serde_json::to_vec(job).unwrap_or_default();
        let hash = blake3::hash(&content).to_hex();
        job.idempotency_key = Some(format!("{key}:{}", &hash[..16]));
    }
}

/// One job and where in the input it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The job; not yet validated.
    pub job: RawJob,
    /// `line 7`, `row 3`, `/2`; empty where the input is this one job.
    pub place: String,
}

/// Turns one body into jobs. A body of many either yields all of them or an error that lists every
/// bad one (up to [`BAD_PLACES_MAX`]); nothing is ever half accepted.
pub fn parse(
    source: Source,
    bytes: &[u8],
    hints: &Hints,
    limits: &IngestLimits,
) -> Result<Vec<Item>, IngestError> {
    if bytes.len() > limits.body_bytes_max {
        return Err(IngestError::too_large(format!(
            "the body has {} bytes, at most {} are allowed (body_bytes_max)",
            bytes.len(),
            limits.body_bytes_max
        )));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(IngestError::new(IngestErrorKind::Empty, "", "the input is empty"));
    }
    let mut items = match source {
        Source::Job | Source::Generic => json::jobs(bytes, limits)?,
        Source::Jsonl => json::lines(bytes, hints, limits)?,
        Source::Csv => csv_jobs::read(bytes, hints, limits)?,
        Source::Ubl => ubl::read(bytes, limits)?,
        Source::CloudEvents => cloudevents::read(bytes, hints, limits)?,
        Source::Cdevents => json::each(bytes, limits, |value| cdevents::job(&value))?,
        Source::Github => github::read(bytes, hints, limits)?,
        Source::Gitlab => gitlab::read(bytes, hints, limits)?,
        Source::Frappe => json::each(bytes, limits, |value| frappe::job(&value))?,
        Source::Odoo | Source::Sap => {
            return Err(IngestError::unsupported(
                "",
                format!("source {source} is not available in this version; send job JSON to generic instead"),
            ));
        }
    };
    if items.is_empty() {
        return Err(IngestError::new(IngestErrorKind::Empty, "", "the input holds no job"));
    }
    for item in &mut items {
        hints.apply(&mut item.job);
        if source.derives_keys() {
            seal_key(&mut item.job);
        }
    }
    if let (Some(key), [item]) = (&hints.idempotency_key, items.as_mut_slice()) {
        item.job.idempotency_key = Some(key.clone());
    }
    Ok(items)
}
