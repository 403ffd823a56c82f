//! What jobs must fit besides their templates: schemas of answers that the engine can hold a model to.
//!
//! The producer links no engine; here, where everything is put together, the engine's word on a schema joins the templates'
//! word on data. Handed to whatever accepts jobs.

use std::sync::Arc;

use bul_engine::SchemaCheck;
use bul_job::{FieldError, ValidJob};
use bul_producer::Templates;
use bul_template::Catalog;
use serde_json::Value;

/// The catalog of an installation and the check of schemas.
pub struct Accepting {
    catalog: Arc<Catalog>,
    schemas: SchemaCheck,
}

impl Accepting {
    /// Checks with these templates.
    pub fn new(catalog: Arc<Catalog>) -> Arc<Self> {
        Arc::new(Self { catalog, schemas: SchemaCheck::default() })
    }
}

impl Templates for Accepting {
    /// The engine's limits stand first: they bound what a validator is then made of.
    fn check(&self, job: &ValidJob) -> Result<(), Vec<FieldError>> {
        if let Some(schema) = &job.response_schema {
            let verdict = self.schemas.check(&schema.to_string());
            verdict.map_err(|problem| vec![FieldError::new("/response_schema", problem)])?;
        }
        Templates::check(self.catalog.as_ref(), job)
    }

    fn list(&self) -> Vec<Value> {
        Templates::list(self.catalog.as_ref())
    }

    fn show(&self, name: &str) -> Option<Value> {
        Templates::show(self.catalog.as_ref(), name)
    }
}
