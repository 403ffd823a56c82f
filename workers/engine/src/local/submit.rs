//! From a request to a sequence in the engine's queue.
//!
//! Runs on the caller's task: refusals, tokenising, the grammar of a schema. The queue is bounded here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LocalModel, stopped};
use crate::chat::Prompt;
use crate::constraint::Shape;
use crate::detokenise::TextOut;
use crate::engine::Command;
use crate::generate::{GenerateError, Pieces};
use crate::grammar::{Crowded, Grammar};
use crate::job::{Constraint, Request};
use crate::kv::key::chain;
use crate::kv::pin::{Keep, PinName};
use crate::kv::quota::ANYONE;
use crate::request::{check_sampling, identity};
use crate::sample::Sampler;
use crate::sequence::{Reader, Reply, Sequence};
use crate::trace::{self, Trace};

impl LocalModel {
    /// What holds the answer to the request's schema, when there is one.
    pub(super) async fn grammar(&self, request: &Request) -> Result<Option<Box<Grammar>>, GenerateError> {
        let Some(Constraint::Schema { schema }) = &request.constraint else { return Ok(None) };
        if request.stop.iter().any(|stop| !stop.is_empty()) {
            return Err(GenerateError::Rejected("a stop string could cut the JSON answer".into()));
        }
        let started = Arc::clone(&self.grammars).start_apart(schema).await;
        let grammar = started.map_err(|Crowded| GenerateError::Unavailable {
            reason: "too many schemas wait to be compiled".into(),
            retry_after_ms: None,
        })?;
        Ok(Some(Box::new(grammar.map_err(GenerateError::Rejected)?)))
    }

    pub(super) fn sequence(
        &self,
        request: Request,
        grammar: Option<Box<Grammar>>,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
        reply: Reply,
    ) -> Result<Sequence, GenerateError> {
        check_sampling(&request)?;
        let prompt = self
            .chat
            .prompt(&request.messages, &self.language.vocabulary)
            .map_err(GenerateError::Rejected)?;
        let keep = request.session.clone().map(|session| {
            let name = PinName::Session { tenant: request.tenant.clone(), session };
            Keep { name, ttl_ms: self.session_ttl_ms }
        });
        let sequence = self.sequence_of(prompt, request, Reader::new(pieces, cancel, reply))?;
        Ok(Sequence { keep, grammar, ..sequence })
    }

    pub(super) fn sequence_of(
        &self,
        prompt: Prompt,
        request: Request,
        reader: Reader,
    ) -> Result<Sequence, GenerateError> {
        let sampling = request.sampling;
        let phrases = self.language.phrases.as_ref();
        let shape = request.constraint.as_ref().filter(|c| !matches!(c, Constraint::Schema { .. }));
        let shape = shape.map(|c| Shape::new(c, sampling.max_tokens, phrases));
        let shape = shape.transpose().map_err(GenerateError::Rejected)?;
        let prompt_tokens = prompt.tokens.len();
        if prompt_tokens == 0 {
            return Err(GenerateError::Rejected("the prompt is empty".into()));
        }
        if prompt_tokens + sampling.max_tokens > self.context {
            return Err(GenerateError::TooLong {
                prompt_tokens,
                max_tokens: sampling.max_tokens,
                context_tokens: self.context,
            });
        }
        let span = trace::caller(&request.id);
        let trace = Trace::new(&span);
        let keys = chain(self.root, self.block_tokens, &prompt.tokens, prompt.public_tokens, &request.tenant);
        Ok(Sequence {
            identity: identity(&request, &prompt.tokens, prompt.public_tokens),
            tokens: prompt.tokens,
            prompt_tokens,
            public_tokens: prompt.public_tokens,
            tenant: request.tenant,
            account: ANYONE,
            keys,
            max_tokens: sampling.max_tokens,
            sampler: Sampler::new(&sampling),
            shape,
            grammar: None,
            text: TextOut::new(request.stop, self.language.vocabulary.strips_first_space()),
            readers: vec![Reader { priority: request.priority, span, ..reader }],
            computed: 0,
            sealed: 0,
            announced: 0,
            cached_tokens: 0,
            tier_tokens: [0; 3],
            keep: None,
            held_until: None,
            admitted: None,
            first_token: None,
            trace,
        })
    }

    /// Takes a place in the queue, or refuses.
    pub(super) fn submit(&self, sequence: Sequence) -> Result<(), GenerateError> {
        let full = || GenerateError::Unavailable {
            reason: "the engine's queue is full".into(),
            retry_after_ms: None,
        };
        let taken = self
            .queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.queue_max).then_some(n + 1));
        taken.map_err(|_| full())?;
        let Some(inbox) = &self.inbox else { return Err(stopped()) };
        inbox.try_send(Command::Generate(Box::new(sequence))).map_err(|error| {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => full(),
                mpsc::error::TrySendError::Closed(_) => stopped(),
            }
        })
    }
}
