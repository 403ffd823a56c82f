//! What the intake must know about templates: their names, and whether data fits one.
//!
//! The real implementation is [`bul_template::Catalog`]; tests put in their own.

use bul_job::{FieldError, ValidJob};
use bul_template::{Catalog, Order, TemplateError};
use chrono::NaiveDate;
use serde_json::Value;

/// The templates of this installation.
pub trait Templates: Send + Sync {
    /// Whether the job's template exists and its data fits; wrong data is refused at submission
    /// instead of becoming a dead letter later. Errors name the field within the job.
    fn check(&self, job: &ValidJob) -> Result<(), Vec<FieldError>>;

    /// All templates, as shown to users.
    fn list(&self) -> Vec<Value>;

    /// One template, as shown to users.
    fn show(&self, name: &str) -> Option<Value>;
}

impl Templates for Catalog {
    fn check(&self, job: &ValidJob) -> Result<(), Vec<FieldError>> {
        let order = Order {
            template: &job.template,
            query: job.query.as_deref(),
            business_area: job.business_area.as_deref(),
            doc_type: job.doc_type.as_deref(),
            data: &job.data,
            context: job.context.as_deref(),
            response_schema: job.response_schema.as_ref(),
            language: &job.language,
            // Any day serves: whether data fits does not depend on it.
            date: NaiveDate::default(),
        };
        Catalog::check(self, &order).map_err(|error| field_errors(&error))
    }

    fn list(&self) -> Vec<Value> {
        Catalog::list(self).iter().filter_map(|info| serde_json::to_value(info).ok()).collect()
    }

    fn show(&self, name: &str) -> Option<Value> {
        let template = self.get(name)?;
        let mut value = serde_json::to_value(template.info()).ok()?;
        value.as_object_mut()?.insert("schema".into(), template.schema().clone());
        Some(value)
    }
}

fn field_errors(error: &TemplateError) -> Vec<FieldError> {
    let fields = error.fields();
    if !fields.is_empty() {
        return fields
            .into_iter()
            .map(|(at, message)| FieldError::new(format!("/data{at}"), message))
            .collect();
    }
    let pointer = match error {
        TemplateError::Unknown { .. } => "/template",
        TemplateError::Data { .. } | TemplateError::Body { .. } => "/data",
        TemplateError::AnswerSchema(_) => "/response_schema",
        TemplateError::Package { .. }
        | TemplateError::Plan(_)
        | TemplateError::Answer { .. }
        | TemplateError::Read { .. } => "",
    };
    vec![FieldError::new(pointer, error.to_string())]
}

#[cfg(test)]
mod tests {
    use bul_job::{Limits, RawJob};
    use serde_json::json;

    use super::*;

    fn check(job: Value) -> Result<(), Vec<FieldError>> {
        let raw = RawJob::from_value(job).unwrap();
        let job = ValidJob::parse(raw, "2026-11-16T09:00:00Z".parse().unwrap(), &Limits::default()).unwrap();
        Templates::check(&Catalog::builtin().unwrap(), &job)
    }

    #[test]
    fn the_real_catalog_refuses_wrong_data_by_place() {
        assert_eq!(check(json!({"query": "A plan for a bakery"})), Ok(()));
        let unknown = check(json!({"template": "nonsense"})).unwrap_err();
        assert_eq!(unknown[0].pointer, "/template");
        let wrong = check(json!({"template": "invoice", "data": {"colour": 1}})).unwrap_err();
        assert!(wrong.iter().all(|e| e.pointer.starts_with("/data")), "{wrong:?}");
        let schema = |schema: Value| check(json!({"query": "x", "response_schema": schema}));
        assert_eq!(schema(json!({"type": "integer"})), Ok(()));
        for wrong in
            [json!({"type": "colour"}), json!({"type": "string", "pattern": "(["}), json!({"required": "a"})]
        {
            let errors = schema(wrong.clone()).unwrap_err();
            assert_eq!(errors[0].pointer, "/response_schema", "{wrong}: {errors:?}");
        }
    }

    #[test]
    fn templates_are_shown_with_their_schema() {
        let catalog = Catalog::builtin().unwrap();
        let shown = Templates::show(&catalog, "invoice").unwrap();
        assert!(shown["schema"].is_object());
        assert!(Templates::list(&catalog).len() > 1);
        assert_eq!(Templates::show(&catalog, "nonsense"), None);
    }
}
