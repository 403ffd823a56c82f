//! Reading one answer of an OpenAI-compatible server, streamed or whole, within its limits.

use std::time::Instant;

use bul_runtime::breaker::Outcome;

use super::openai::{TryError, describe};
use super::options::OpenAiOptions;
use super::sse::SseParser;
use super::wire::{Chunk, Fault, Usage, finish};
use crate::detokenise::TextOut;
use crate::generate::{GenerateError, Pieces};
use crate::job::{Finish, Receipt, Request};

/// Bytes of an error's body that are read.
const FAULT_BYTES_MAX: usize = 16 << 10;

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub text: String,
    pub finish: Finish,
    pub receipt: Receipt,
}

/// An answer under way.
struct Reader<'a> {
    out: TextOut,
    pieces: Option<&'a Pieces>,
    shown: bool,
    finish: Option<Finish>,
    usage: Usage,
    chunks: u64,
    first_token: Option<Instant>,
    done: bool,
}

/// Reads the body of a successful response.
pub(super) async fn read_answer(
    mut response: reqwest::Response,
    request: &Request,
    options: &OpenAiOptions,
    pieces: Option<&Pieces>,
    started: Instant,
) -> Result<Answer, TryError> {
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let streamed = !kind.is_some_and(|k| k.starts_with("application/json"));
    let mut reader = Reader {
        out: TextOut::new(request.stop.clone(), false),
        pieces,
        shown: false,
        finish: None,
        usage: Usage::default(),
        chunks: 0,
        first_token: None,
        done: false,
    };
    let mut parser = SseParser::default();
    let mut whole = Vec::new();
    let mut bytes = 0;
    while !reader.done {
        let chunk = match tokio::time::timeout(options.timeouts.idle, response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Err(reader.broken(describe(&error))),
            Err(_) => return Err(reader.broken(format!("silent for {:?}", options.timeouts.idle))),
        };
        let Some(chunk) = chunk else { break };
        bytes += chunk.len();
        if bytes > options.response_bytes_max {
            let reason = format!("the answer is larger than {} bytes", options.response_bytes_max);
            return Err(TryError::permanent(GenerateError::Engine(reason)));
        }
        if !streamed {
            whole.extend_from_slice(&chunk);
            continue;
        }
        for event in parser.push(&chunk) {
            reader.event(&event)?;
        }
    }
    if !streamed {
        reader.event(&String::from_utf8_lossy(&whole))?;
    }
    reader.end(started)
}

impl Reader<'_> {
    /// A failure half-way: what was shown cannot be taken back, so it is not tried again.
    fn broken(&self, reason: String) -> TryError {
        let mut failed = TryError::transient(reason);
        failed.retry = !self.shown;
        failed
    }

    fn event(&mut self, data: &str) -> Result<(), TryError> {
        if self.done {
            return Ok(());
        }
        if data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|_| self.broken("the server sent something that is no completion".into()))?;
        if let Some(fault) = &chunk.error {
            return Err(self.broken(format!("the server reports: {}", fault.text())));
        }
        if let Some(usage) = chunk.usage {
            self.usage = usage;
        }
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(()) };
        let content = choice.delta.or(choice.message).and_then(|d| d.content).unwrap_or_default();
        if !content.is_empty() {
            self.first_token.get_or_insert_with(Instant::now);
            self.chunks += 1;
            if self.out.push(content.as_bytes()) {
                self.finish = Some(Finish::Stop);
                self.done = true;
            }
            self.show();
        }
        if let Some(reason) = choice.finish_reason {
            let Some(finish) = finish(&reason) else {
                let error = GenerateError::Rejected("the server's content filter stopped the answer".into());
                return Err(TryError { error, retry: false, outcome: Outcome::Success });
            };
            self.finish.get_or_insert(finish);
        }
        Ok(())
    }

    fn show(&mut self) {
        let Some(pieces) = self.pieces else { return };
        let ready = self.out.ready();
        if !ready.is_empty() && pieces.try_send(ready.to_string()).is_ok() {
            self.shown = true;
            self.out.take();
        }
    }

    fn end(mut self, started: Instant) -> Result<Answer, TryError> {
        // Some servers leave out the closing event, some the reason; without both it was cut.
        let Some(finish) = self.finish.or_else(|| self.done.then_some(Finish::Stop)) else {
            return Err(self.broken("the stream was cut off".into()));
        };
        self.out.finish();
        self.show();
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let now = Instant::now();
        let cached = self.usage.prompt_tokens_details.and_then(|d| d.cached_tokens).unwrap_or(0);
        let receipt = Receipt {
            prompt_tokens: self.usage.prompt_tokens,
            cached_tokens: cached.min(self.usage.prompt_tokens),
            // Without usage, events are the nearest thing to tokens.
            output_tokens: if self.usage.completion_tokens > 0 {
                self.usage.completion_tokens
            } else {
                self.chunks
            },
            queue_ms: 0.0,
            first_token_ms: ms(started, self.first_token.unwrap_or(now)),
            total_ms: ms(started, now),
            ..Receipt::default()
        };
        Ok(Answer { text: self.out.text().to_string(), finish, receipt })
    }
}

/// What an error response says, shortened.
pub(super) async fn read_fault(mut response: reqwest::Response, options: &OpenAiOptions) -> String {
    let mut body = Vec::new();
    while body.len() < FAULT_BYTES_MAX {
        match tokio::time::timeout(options.timeouts.idle, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    let parsed: Option<Chunk> = serde_json::from_slice(&body).ok();
    let fault = parsed.and_then(|chunk| chunk.error);
    fault.unwrap_or_else(|| Fault::Text(String::from_utf8_lossy(&body).trim().to_string())).text()
}
