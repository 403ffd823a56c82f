//! Data schemas: validation with pointers, and the list of what may be absent.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use crate::error::Problem;
use crate::json::escape_step;
use crate::limits;

/// How deep references are followed when absent members are filled in.
const DEPTH_MAX: usize = 24;

/// A compiled JSON Schema and its source.
pub(crate) struct Schema {
    validator: Validator,
    source: Value,
}

impl Schema {
    /// Compiles a schema. References outside the schema are errors: nothing is fetched.
    pub(crate) fn compile(source: Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .build(&source)
            .map_err(|error| error.to_string())?;
        Ok(Self { validator, source })
    }

    /// Compiles the schema of an answer, which comes from a caller. Its regular expressions run in time linear in the text
    /// and are bounded in number and memory; its draft is the one it names, else 2020-12.
    pub(crate) fn for_answers(source: Value) -> Result<Self, String> {
        let patterns = patterns(&source);
        if patterns > limits::ANSWER_PATTERNS_MAX {
            return Err(format!(
                "it has {patterns} patterns, at most {} are allowed",
                limits::ANSWER_PATTERNS_MAX
            ));
        }
        let bytes_max = limits::ANSWER_PATTERN_BYTES_MAX;
        let expressions = PatternOptions::regex().size_limit(bytes_max).dfa_size_limit(bytes_max);
        let validator = jsonschema::options()
            .with_pattern_options(expressions)
            .should_validate_formats(true)
            .build(&source)
            .map_err(|error| located(&error))?;
        Ok(Self { validator, source })
    }

    pub(crate) fn source(&self) -> &Value {
        &self.source
    }

    /// Everything wrong with the data, at most [`limits::PROBLEMS_MAX`].
    pub(crate) fn check(&self, data: &Value) -> Vec<Problem> {
        // Most data is right, and finding that out costs a fraction of looking for what is wrong.
        if self.validator.is_valid(data) {
            return Vec::new();
        }
        let mut problems = Vec::new();
        for error in self.validator.iter_errors(data) {
            let path = error.instance_path().as_str().to_owned();
            match error.kind() {
                ValidationErrorKind::AdditionalProperties { unexpected } => {
                    problems.extend(
                        unexpected.iter().map(|name| {
                            Problem::new(format!("{path}/{}", escape_step(name)), "unknown field")
                        }),
                    );
                }
                ValidationErrorKind::Required { property } => {
                    let name = property.as_str().unwrap_or_default();
                    problems.push(Problem::new(format!("{path}/{}", escape_step(name)), "is required"));
                }
                ValidationErrorKind::Pattern { pattern } => {
                    problems.push(Problem::new(path, format!("does not match {pattern}")));
                }
                _ => problems.push(Problem::new(path, short(&error.masked().to_string()))),
            }
            if problems.len() >= limits::PROBLEMS_MAX {
                break;
            }
        }
        problems
    }

    /// Adds every member the schema declares and the data lacks as null. A body can then ask
    /// `{% if data.x %}` for declared members, while a misspelt one stays an error.
    pub(crate) fn fill_absent(&self, data: &mut Value) {
        self.fill(&self.source, data, 0);
    }

    fn fill(&self, schema: &Value, data: &mut Value, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let schema = self.resolve(schema);
        match data {
            Value::Object(members) => self.fill_object(schema, members, depth),
            Value::Array(items) => {
                // Cells of large tables are scalars and need no visit.
                if let Some(item) = schema.get("items").filter(|_| items.iter().any(is_container)) {
                    for entry in items {
                        self.fill(item, entry, depth + 1);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn fill_object(&self, schema: &Value, members: &mut Map<String, Value>, depth: usize) {
        let Some(declared) = schema.get("properties").and_then(Value::as_object) else { return };
        for (name, member) in declared {
            match members.get_mut(name) {
                Some(value) => self.fill(member, value, depth + 1),
                None => {
                    members.insert(name.clone(), Value::Null);
                }
            }
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
        target.and_then(|pointer| self.source.pointer(pointer)).unwrap_or(schema)
    }
}

/// What is wrong with a schema, and where in it. The text may quote the schema, which may be large.
fn located(error: &jsonschema::ValidationError) -> String {
    let place: String = error.instance_path().as_str().chars().take(200).collect();
    let message = short(&error.to_string());
    if place.is_empty() { message } else { format!("#{place}: {message}") }
}

/// Members that may be regular expressions; at least as many as there are.
fn patterns(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(patterns).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, part)| {
                let own = match (name.as_str(), part) {
                    ("pattern", Value::String(_)) => 1,
                    ("patternProperties", Value::Object(named)) => named.len(),
                    _ => 0,
                };
                own + patterns(part)
            })
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn is_container(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// Messages quote no more than a line; data can be long.
fn short(message: &str) -> String {
    if message.chars().count() <= 300 {
        return message.to_owned();
    }
    message.chars().take(297).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::compile(json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["number"],
            "properties": {
                "number": {"type": "string"},
                "day": {"type": "string", "format": "date"},
                "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}
            },
            "$defs": {"line": {"type": "object", "additionalProperties": false,
                "properties": {"name": {"type": "string"}, "note": {"type": "string"}}}}
        }))
        .expect("schema")
    }

    #[test]
    fn problems_name_the_place() {
        let problems = schema().check(&json!({"lines": [{"name": 1}, {"nam/e": ""}], "day": "2026-02-31"}));
        let pointers: Vec<_> = problems.iter().map(|p| p.pointer.as_str()).collect();
        for expected in ["/number", "/lines/0/name", "/lines/1/nam~1e", "/day"] {
            assert!(pointers.contains(&expected), "{expected} in {pointers:?}");
        }
    }

    #[test]
    fn absent_members_become_null() {
        let mut data = json!({"lines": [{"name": "a"}]});
        schema().fill_absent(&mut data);
        assert_eq!(data, json!({"lines": [{"name": "a", "note": null}], "number": null, "day": null}));
    }
}
