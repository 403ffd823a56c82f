//! A free query that is answered by one JSON value instead of prose.
//!
//! The value is checked against the caller's schema before anything is made of it: a model behind a server may ignore
//! the schema it was given. Its figures and names are the model's own, so each that neither request nor data holds is a
//! finding. Called by `plan` and `assemble`.

mod show;

use std::collections::BTreeMap;

use bul_document::Document;
use serde_json::Value;

use crate::assemble::Assembled;
use crate::catalog::Order;
use crate::error::{Problem, TemplateError};
use crate::limits;
use crate::plan::Plan;
use crate::prose::Known;
use crate::schema::Schema;

/// Name under which the text of the JSON value is handed to [`Plan::assemble`].
pub const ANSWER: &str = "answer";

/// The same for everybody, so that all such requests share their beginning.
const SYSTEM: &str = "Write one JSON value that fits the given JSON Schema, and nothing else. Take every value from the \
                      request, its context and its data. Never invent numbers, names or dates.";

/// Request for one JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerRequest {
    /// System message.
    pub system: String,
    /// User message.
    pub user: String,
    /// Text of the JSON Schema.
    pub schema: String,
}

/// What is asked for, and what the answer must fit.
#[derive(Debug, Clone)]
pub(crate) struct AnswerSpec {
    pub(crate) request: AnswerRequest,
    schema: Value,
}

impl AnswerSpec {
    pub(crate) fn new(schema: &Value, order: &Order) -> Self {
        let text = schema.to_string();
        let request = AnswerRequest { system: SYSTEM.into(), user: user(&text, order), schema: text };
        Self { request, schema: schema.clone() }
    }

    /// What the answer may hold without it being an invention.
    pub(crate) fn known_text(&self) -> String {
        format!("\n{}", self.request.user)
    }

    /// The document of an answer.
    pub(crate) fn assemble(
        self,
        plan: Plan,
        texts: &BTreeMap<String, String>,
    ) -> Result<Assembled, TemplateError> {
        if let Some(stranger) = texts.keys().find(|name| name.as_str() != ANSWER) {
            return Err(TemplateError::Plan(format!("there is no slot `{stranger}`")));
        }
        let text = texts.get(ANSWER).map(String::as_str).unwrap_or_default();
        let answer = read(text, self.schema)?;
        let blocks = show::blocks(&answer, &plan.meta.lang);
        let known = Known::new(&plan.facts, &plan.known_text, &plan.meta.lang);
        let mut findings = plan.findings;
        known.check(&blocks, ANSWER, &mut findings);
        findings.truncate(limits::FINDINGS_MAX);
        let document =
            Document { meta: plan.meta, blocks, facts: plan.facts.into_vec(), sources: plan.sources };
        Ok(Assembled { document, findings, answer: Some(answer) })
    }
}

/// The schema first: jobs of one kind share it, and with it the computed beginning of their prompts. Everything stands on
/// its own line as JSON, so that no text can pass for another part.
fn user(schema: &str, order: &Order) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut out = format!("Schema: {schema}\nLanguage: {}\n", quoted(order.language));
    if let Some(context) = order.context {
        out.push_str(&format!("Context: {}\n", quoted(context)));
    }
    if !order.data.is_empty() {
        out.push_str(&format!("Data: {}\n", Value::Object(order.data.clone())));
    }
    out.push_str(&format!("Request: {}", quoted(order.query.unwrap_or_default())));
    out
}

/// The value of a text, when it fits. What is checked is what is delivered: of a member that comes twice, the last.
fn read(text: &str, schema: Value) -> Result<Value, TemplateError> {
    let wrong = |message: String| TemplateError::Answer { problems: vec![Problem::new("", message)] };
    if text.len() > limits::ANSWER_BYTES_MAX {
        let message = format!("it has {} bytes, at most {} are read", text.len(), limits::ANSWER_BYTES_MAX);
        return Err(wrong(message));
    }
    let answer: Value =
        serde_json::from_str(text).map_err(|error| wrong(format!("it is not JSON: {error}")))?;
    let schema = Schema::for_answers(schema).map_err(TemplateError::AnswerSchema)?;
    let mut problems = schema.check(&answer);
    for problem in &mut problems {
        // Names of members are the model's, too.
        problem.pointer = problem.pointer.chars().take(limits::PROMPT_LINE_CHARS_MAX).collect();
    }
    if problems.is_empty() { Ok(answer) } else { Err(TemplateError::Answer { problems }) }
}
