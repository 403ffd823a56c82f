//! What a caller asks of a model and what it gets back.
//!
//! The engine knows tokens, not jobs: a [`Request`] carries messages, a scope, sampling and an
//! optional constraint; a [`Completion`] carries text and a [`Receipt`]. Called by the worker's
//! attempt pipeline and by `bul model bench`.

use serde::{Deserialize, Serialize};

/// Who may share cached keys and values computed for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Template or agent text, the same for everybody.
    Public,
    /// Text that holds customer data: never matched across tenants.
    Tenant,
}

/// The speaker of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions; the prefix that jobs of one template share.
    System,
    /// The request itself.
    User,
    /// An earlier answer.
    Assistant,
}

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    /// Speaker.
    pub role: Role,
    /// Text. Special tokens written in it are treated as plain characters.
    pub text: String,
    /// Sharing scope; once `Tenant` in a prompt, all later messages are `Tenant` too.
    pub scope: Scope,
}

/// How the next token is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Hard limit on generated tokens.
    pub max_tokens: usize,
    /// 0 means greedy.
    pub temperature: f32,
    /// Nucleus mass in (0, 1].
    pub top_p: f32,
    /// Same seed, same prompt, same model: same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { max_tokens: 256, temperature: 0.7, top_p: 0.9, seed: 0 }
    }
}

/// Shapes that decoding can be held to, token by token. A model behind an HTTP API cannot be
/// masked; there the answer is checked and the request repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// One paragraph of plain sentences. No digits, no line breaks, no markup; a bracket opens
    /// only one of `facts`; the end is allowed only behind a full stop and is forced at
    /// `sentences`; no repeated run of six words.
    Prose {
        /// Names that may stand in square brackets.
        facts: Vec<String>,
        /// Exact number of sentences.
        sentences: usize,
        /// Sentences that stand elsewhere in the document and shall not come again.
        said: Vec<String>,
    },
    /// Exactly `items` distinct lines `- Heading`, without digits or brackets.
    Outline {
        /// Number of lines.
        items: usize,
    },
    /// One JSON value that fits a schema, without white space, its properties in the schema's order. Not together
    /// with `stop`, which could cut it. `GenerateError::Shape` when `max_tokens` come before its end.
    Schema {
        /// Text of a JSON Schema (draft 2020-12, a subset; at most 64 KiB).
        schema: String,
    },
}

/// One generation.
#[derive(Debug, Clone)]
pub struct Request {
    /// Caller's id, for logs and receipts.
    pub id: String,
    /// Tenant whose cache entries this request may read and write.
    pub tenant: String,
    /// Conversation to continue, if any.
    pub session: Option<String>,
    /// Prompt.
    pub messages: Vec<Message>,
    /// Sampling.
    pub sampling: Sampling,
    /// Strings that end the answer (and are not part of it).
    pub stop: Vec<String>,
    /// Shape of the answer.
    pub constraint: Option<Constraint>,
    /// Lower runs first; the lane of the job.
    pub priority: u8,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its answer, or a stop string was met.
    Stop,
    /// `max_tokens` was reached.
    Length,
}

/// What a generation cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, tokens whose keys and values came from the cache.
    pub cached_tokens: u64,
    /// Of the cached ones, tokens that were kept in the host's memory.
    pub host_tokens: u64,
    /// Of the cached ones, tokens that were kept on disk.
    pub disk_tokens: u64,
    /// Of the cached ones, tokens that came from the store that engines share.
    pub remote_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Requests that shared the answer of the same request, which was being computed already:
    /// 0 or 1, more in a sum. Their prompt counts as cached.
    pub attached: u64,
    /// How often it gave its blocks back to others and started again later.
    pub preemptions: u64,
    /// Tokens computed again because of that: they had been computed or found before.
    pub recomputed_tokens: u64,
    /// Waiting for the engine, milliseconds.
    pub queue_ms: f64,
    /// Time to first token, from the start of prefill, milliseconds.
    pub first_token_ms: f64,
    /// Prefill and decode together, milliseconds.
    pub total_ms: f64,
}

impl Receipt {
    /// Adds another receipt: tokens and times are summed, the first token's time is kept.
    pub fn add(&mut self, other: &Receipt) {
        if self.output_tokens == 0 {
            self.first_token_ms = other.first_token_ms;
        }
        self.attached += other.attached;
        self.preemptions += other.preemptions;
        self.recomputed_tokens += other.recomputed_tokens;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.host_tokens += other.host_tokens;
        self.disk_tokens += other.disk_tokens;
        self.remote_tokens += other.remote_tokens;
        self.output_tokens += other.output_tokens;
        self.queue_ms += other.queue_ms;
        self.total_ms += other.total_ms;
    }
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The answer without special tokens.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// What it cost.
    pub receipt: Receipt,
}
