//! The catalog: every template by name, and the way from an order to a plan.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::builtin;
use crate::error::TemplateError;
use crate::limits;
use crate::package::{self, Template};
use crate::plan::{self, Plan};
use crate::prompt;
use crate::render;

/// Templates by name.
pub struct Catalog {
    templates: BTreeMap<String, Template>,
}

/// What somebody wants written.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Name of the template; empty for the free `document`.
    pub template: &'a str,
    /// Request in words.
    pub query: Option<&'a str>,
    /// Business area of a free document; other templates have their own.
    pub business_area: Option<&'a str>,
    /// Type of a free document; other templates have their own.
    pub doc_type: Option<&'a str>,
    /// Data of the job.
    pub data: &'a Map<String, Value>,
    /// Free background for the model.
    pub context: Option<&'a str>,
    /// JSON Schema of the answer, where it shall be one JSON value instead of a document's prose.
    pub response_schema: Option<&'a Value>,
    /// BCP 47 tag.
    pub language: &'a str,
    /// Day the job was accepted: the document date where the data holds none.
    pub date: NaiveDate,
}

/// What a list of templates shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TemplateInfo {
    /// Name orders use.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// Business area.
    pub business_area: String,
    /// Document type.
    pub doc_type: String,
    /// One or two sentences.
    pub description: String,
    /// Version of the package.
    pub version: String,
    /// Languages of its fixed texts; empty for any.
    pub languages: Vec<String>,
    /// Whether it came with the program.
    pub builtin: bool,
    /// Names of its sample data.
    pub samples: Vec<String>,
}

impl Catalog {
    /// The templates that come with the program.
    pub fn builtin() -> Result<Self, TemplateError> {
        let mut templates = BTreeMap::new();
        for sources in builtin::packages() {
            let template = Template::parse(sources, true)?;
            templates.insert(template.name().to_owned(), template);
        }
        Ok(Self { templates })
    }

    /// The system message of each template, once each: what the prompts of all its documents begin with.
    pub fn system_messages(&self) -> Vec<String> {
        let mut messages: Vec<String> = self.list().iter().map(prompt::system_of).collect();
        messages.sort();
        messages.dedup();
        messages
    }

    /// Loads a package, or every package in a directory of packages; returns how many. A package
    /// replaces one of the same name. Nothing is loaded when one of them is broken.
    pub fn load_dir(&mut self, path: &Path) -> Result<usize, TemplateError> {
        let mut directories = Vec::new();
        if path.join("template.toml").is_file() {
            directories.push(path.to_owned());
        } else {
            for (_, entry) in package::entries(path)? {
                if entry.join("template.toml").is_file() {
                    directories.push(entry);
                }
            }
        }
        if directories.len() > limits::PACKAGES_MAX {
            return Err(TemplateError::Package {
                path: path.to_owned(),
                message: format!("{} packages; at most {} are read", directories.len(), limits::PACKAGES_MAX),
            });
        }
        let mut loaded = Vec::new();
        for directory in &directories {
            loaded.push(Template::parse(package::read_dir(directory)?, false)?);
        }
        let count = loaded.len();
        self.templates.extend(loaded.into_iter().map(|template| (template.name().to_owned(), template)));
        Ok(count)
    }

    /// A template by name.
    pub fn get(&self, name: &str) -> Option<&Template> {
        self.templates.get(name)
    }

    /// All templates, sorted by name.
    pub fn list(&self) -> Vec<TemplateInfo> {
        self.templates.values().map(Template::info).collect()
    }

    /// Whether an order can be planned: everything [`Catalog::plan`] can refuse, without making the document.
    ///
    /// # Errors
    /// Those of [`Catalog::plan`].
    pub fn check(&self, order: &Order) -> Result<(), TemplateError> {
        render::check(self.template_of(order)?, order)
    }

    /// Plans a document: computes its data-bound parts and lists the prose to write.
    pub fn plan(&self, order: &Order) -> Result<Plan, TemplateError> {
        plan::make(self.template_of(order)?, order)
    }

    fn template_of(&self, order: &Order) -> Result<&Template, TemplateError> {
        let name = if order.template.is_empty() { "document" } else { order.template };
        self.templates.get(name).ok_or_else(|| TemplateError::Unknown {
            name: name.chars().take(100).collect(),
            known: self.templates.keys().cloned().collect(),
        })
    }
}

impl Template {
    /// What a list of templates shows.
    pub fn info(&self) -> TemplateInfo {
        let manifest = &self.manifest;
        TemplateInfo {
            name: manifest.name.clone(),
            title: manifest.title.clone(),
            business_area: manifest.business_area.clone(),
            doc_type: manifest.doc_type.clone(),
            description: manifest.description.clone(),
            version: manifest.version.clone(),
            languages: manifest.languages.clone(),
            builtin: self.is_builtin(),
            samples: self.samples().iter().map(|(name, _)| name.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_catalog_serves_all_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Catalog>();
        shared::<Plan>();
    }
}
