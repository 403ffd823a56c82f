//! The messages of an OpenAI-compatible server, as far as they are used.
//!
//! Unknown fields are ignored and all answers are optional: servers differ. Called by `openai`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::job::{Constraint, Finish, Message, Request, Role};

/// Body of `POST /chat/completions`.
pub(crate) fn body(model: &str, request: &Request, messages: &[Message]) -> Value {
    let messages: Vec<Value> = messages
        .iter()
        .map(|m| {
            let role = match m.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            json!({"role": role, "content": m.text})
        })
        .collect();
    let mut body = json!({
        "model": model,
        "messages": messages,
        "max_tokens": request.sampling.max_tokens,
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        // Some servers refuse seeds beyond a signed 32-bit number.
        "seed": request.sampling.seed & 0x7fff_ffff,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    if !request.stop.is_empty() {
        body["stop"] = json!(request.stop);
    }
    if let Some(Constraint::Schema { schema }) = &request.constraint {
        // Strict: a server that cannot hold to it says so, instead of answering as it likes.
        let schema: Value = serde_json::from_str(schema).unwrap_or(Value::Bool(true));
        let format = json!({"name": "answer", "strict": true, "schema": schema});
        body["response_format"] = json!({"type": "json_schema", "json_schema": format});
    }
    body
}

/// One event of a stream, or a whole answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
    pub error: Option<Fault>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    pub delta: Option<Delta>,
    pub message: Option<Delta>,
    pub finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    pub content: Option<String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct PromptDetails {
    pub cached_tokens: Option<u64>,
}

/// Some servers send an object, some a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Fault {
    Object { message: String },
    Text(String),
    Other(Value),
}

impl Fault {
    /// At most 300 characters of what went wrong.
    pub fn text(&self) -> String {
        let text = match self {
            Self::Object { message } => message.clone(),
            Self::Text(text) => text.clone(),
            Self::Other(value) => value.to_string(),
        };
        text.chars().take(300).collect()
    }
}

/// Why an answer ended; `None` for reasons that mean a refusal.
pub(crate) fn finish(reason: &str) -> Option<Finish> {
    match reason {
        "length" => Some(Finish::Length),
        "content_filter" => None,
        _ => Some(Finish::Stop),
    }
}

/// What to tell a model whose answer left the shape.
pub(crate) fn correction(constraint: &Constraint, problem: &str) -> String {
    let rule = match constraint {
        Constraint::Prose { facts, sentences, .. } => {
            let names = if facts.is_empty() {
                "no brackets".to_string()
            } else {
                format!("brackets only around these names: [{}]", facts.join("], ["))
            };
            format!(
                "exactly {sentences} plain sentences in one paragraph, each ending in a full stop, with no digits, \
                 no line breaks, no markup and {names}"
            )
        }
        Constraint::Outline { items } => {
            format!("exactly {items} different lines, each `- Heading`, with letters only and nothing else")
        }
        Constraint::Schema { .. } => {
            "one JSON value that fits the schema, and nothing before or after it".into()
        }
    };
    format!("That was not the wanted form ({problem}). Answer again with {rule}.")
}
