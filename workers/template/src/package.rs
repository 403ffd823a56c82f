//! Template packages: manifest, schema, bodies and samples, parsed and compiled once.
//!
//! A package is read in full before it is used; a broken one never half-loads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bul_document::Brand;
use minijinja::Environment;
use serde::Deserialize;
use serde_json::Value;

use crate::body;
use crate::compute::Preparer;
use crate::error::TemplateError;
use crate::facts::slug;
use crate::limits;
use crate::schema::Schema;

/// `template.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) business_area: String,
    pub(crate) doc_type: String,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) version: String,
    /// Languages of the fixed texts, the first one is the fallback; empty for any language.
    #[serde(default)]
    pub(crate) languages: Vec<String>,
    #[serde(default)]
    pub(crate) brand: Brand,
    /// Name of a built-in template whose schema and computed values this one uses.
    pub(crate) prepare: Option<String>,
    /// Expression texts for the head of the document, `{{ … }}` allowed.
    pub(crate) document_title: Option<String>,
    pub(crate) subtitle: Option<String>,
    pub(crate) author: Option<String>,
    /// JSON Pointer to the document date.
    pub(crate) date: Option<String>,
    /// Currency code, or JSON Pointer to one; what `money` uses when it is given none.
    pub(crate) currency: Option<String>,
    #[serde(default)]
    pub(crate) facts: Vec<FactRule>,
    /// Translations of fixed texts, by language.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, BTreeMap<String, String>>,
}

/// How one fact is found.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FactRule {
    pub(crate) name: String,
    pub(crate) pointer: Option<String>,
    pub(crate) expression: Option<String>,
    #[serde(default)]
    pub(crate) format: FactFormat,
    pub(crate) currency: Option<String>,
}

/// How a fact's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FactFormat {
    #[default]
    Text,
    Money,
    Number,
    Percent,
    Date,
}

/// The files of a package, not parsed yet.
pub(crate) struct Sources {
    pub(crate) path: PathBuf,
    pub(crate) manifest: String,
    pub(crate) schema: Option<String>,
    /// Language (empty for the default body) and text.
    pub(crate) bodies: Vec<(String, String)>,
    pub(crate) samples: Vec<(String, String)>,
}

/// A loaded template.
pub struct Template {
    pub(crate) manifest: Manifest,
    pub(crate) schema: Schema,
    pub(crate) env: Environment<'static>,
    pub(crate) preparer: Preparer,
    /// Whether any text of the package reads `data`; large data is not converted for nothing.
    pub(crate) reads_data: bool,
    body_languages: Vec<String>,
    labels: BTreeMap<String, Arc<BTreeMap<String, String>>>,
    samples: Vec<(String, Value)>,
    builtin: bool,
}

impl Template {
    /// Parses and compiles a package.
    pub(crate) fn parse(sources: Sources, builtin: bool) -> Result<Self, TemplateError> {
        let path = sources.path.clone();
        let bad = |message: String| TemplateError::Package { path: path.clone(), message };
        let mut manifest: Manifest =
            toml::from_str(&sources.manifest).map_err(|error| bad(format!("template.toml: {error}")))?;
        check_manifest(&mut manifest).map_err(&bad)?;
        let base = if builtin { Some(manifest.name.as_str()) } else { manifest.prepare.as_deref() };
        let preparer = match base {
            None => Preparer::Generic,
            Some(name) => Preparer::named(name)
                .ok_or_else(|| bad(format!("template.toml: `prepare` names no built-in template: {name}")))?,
        };
        let schema_text = match (&sources.schema, preparer.schema()) {
            (Some(own), _) => own.as_str(),
            (None, Some(inherited)) => inherited,
            (None, None) => return Err(bad("schema.json is missing".into())),
        };
        let schema: Value =
            serde_json::from_str(schema_text).map_err(|error| bad(format!("schema.json: {error}")))?;
        let schema = Schema::compile(schema).map_err(|error| bad(format!("schema.json: {error}")))?;
        let mut env = body::environment();
        let mut body_languages = Vec::new();
        for (language, text) in sources.bodies {
            env.add_template_owned(body_name(&language), text)
                .map_err(|error| body::to_error(&manifest.name, &error))?;
            body_languages.push(language);
        }
        // Compiled once, like the bodies: they are printed for every document.
        for (name, source) in heads(&manifest) {
            if let Some(source) = source {
                env.add_template_owned(name, source.clone())
                    .map_err(|error| body::to_error(&manifest.name, &error))?;
            }
        }
        if !body_languages.iter().any(String::is_empty) {
            return Err(bad("body.md is missing".into()));
        }
        let mut samples = Vec::new();
        for (name, text) in sources.samples {
            let value: Value =
                serde_json::from_str(&text).map_err(|error| bad(format!("samples/{name}: {error}")))?;
            samples.push((name, value));
        }
        let reads_data = reads_data(&manifest, &env);
        let labels = std::mem::take(&mut manifest.labels);
        let labels = labels.into_iter().map(|(language, texts)| (language, Arc::new(texts))).collect();
        Ok(Self { manifest, schema, env, preparer, reads_data, body_languages, labels, samples, builtin })
    }

    /// Name orders use.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Whether it came with the program.
    pub fn is_builtin(&self) -> bool {
        self.builtin
    }

    /// JSON Schema of the data.
    pub fn schema(&self) -> &Value {
        self.schema.source()
    }

    /// Example data by file name.
    pub fn samples(&self) -> &[(String, Value)] {
        &self.samples
    }

    /// Fixed texts of a language, by their English wording.
    pub(crate) fn labels(&self, language: &str) -> Arc<BTreeMap<String, String>> {
        self.labels.get(language).cloned().unwrap_or_default()
    }

    /// Name of the body for a language.
    pub(crate) fn body_for(&self, language: &str) -> String {
        let own = self.body_languages.iter().any(|l| l == language);
        body_name(if own { language } else { "" })
    }

    pub(crate) fn body_names(&self) -> Vec<String> {
        self.body_languages.iter().map(|language| body_name(language)).collect()
    }
}

/// The head fields a manifest may compute, by the name each is compiled under.
pub(crate) fn heads(manifest: &Manifest) -> [(&'static str, &Option<String>); 3] {
    [
        ("head:title", &manifest.document_title),
        ("head:subtitle", &manifest.subtitle),
        ("head:author", &manifest.author),
    ]
}

fn reads_data(manifest: &Manifest, env: &Environment) -> bool {
    heads(manifest).into_iter().filter_map(|(_, text)| text.as_ref()).any(|text| text.contains("data"))
        || manifest.facts.iter().filter_map(|fact| fact.expression.as_ref()).any(|text| text.contains("data"))
        || env.templates().any(|(_, body)| body.undeclared_variables(false).contains("data"))
}

fn body_name(language: &str) -> String {
    if language.is_empty() { "body.md".into() } else { format!("body.{language}.md") }
}

fn check_manifest(manifest: &mut Manifest) -> Result<(), String> {
    let name_ok = !manifest.name.is_empty()
        && manifest.name.len() <= 80
        && manifest
            .name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if !name_ok {
        return Err("template.toml: `name` must be lower-case letters, digits, `-` and `_`".into());
    }
    for (field, value) in [
        ("title", &manifest.title),
        ("business_area", &manifest.business_area),
        ("doc_type", &manifest.doc_type),
    ] {
        if value.trim().is_empty() {
            return Err(format!("template.toml: `{field}` is empty"));
        }
    }
    for fact in &manifest.facts {
        if slug(&fact.name) != fact.name {
            return Err(format!("template.toml: fact name `{}` must match [a-z][a-z0-9_]*", fact.name));
        }
        if fact.pointer.is_some() == fact.expression.is_some() {
            return Err(format!("template.toml: fact `{}` needs a pointer or an expression", fact.name));
        }
    }
    Ok(())
}

/// Reads the files of a package directory.
pub(crate) fn read_dir(path: &Path) -> Result<Sources, TemplateError> {
    let mut bodies = Vec::new();
    let mut samples = Vec::new();
    for (name, file) in entries(path)? {
        if let Some(language) = name.strip_prefix("body").and_then(|rest| rest.strip_suffix(".md")) {
            bodies.push((language.trim_start_matches('.').to_owned(), read(&file)?));
        }
    }
    let sample_dir = path.join("samples");
    if sample_dir.is_dir() {
        for (name, file) in entries(&sample_dir)?.into_iter().take(limits::SAMPLES_MAX) {
            if name.ends_with(".json") {
                samples.push((name, read(&file)?));
            }
        }
    }
    let schema = path.join("schema.json");
    Ok(Sources {
        path: path.to_owned(),
        manifest: read(&path.join("template.toml"))?,
        schema: if schema.is_file() { Some(read(&schema)?) } else { None },
        bodies,
        samples,
    })
}

/// Files and directories in a directory, sorted by name so that loading is repeatable.
pub(crate) fn entries(path: &Path) -> Result<Vec<(String, PathBuf)>, TemplateError> {
    let failed = |source| TemplateError::Read { path: path.to_owned(), source };
    let mut list = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        list.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    list.sort();
    Ok(list)
}

fn read(path: &Path) -> Result<String, TemplateError> {
    let failed = |source| TemplateError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > limits::PACKAGE_FILE_BYTES_MAX {
        return Err(TemplateError::Package {
            path: path.to_owned(),
            message: format!("{size} bytes; at most {} are read", limits::PACKAGE_FILE_BYTES_MAX),
        });
    }
    std::fs::read_to_string(path).map_err(failed)
}
