//! Finished texts that outlive their attempt: what took long to write is kept in the store, and the next attempt of the job takes
//! it from there instead of having it written again.
//!
//! Called by `prose` and `attempt`. Invariants: a text answers only the request that it was written for, down to the model; and
//! nothing here can fail an attempt: what cannot be kept or read is written again. A value by a schema is not kept: it is the whole
//! of its job, and whether it fits is known too late to keep one that does not from coming back with every replay.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bul_engine::{Completion, Constraint, Finish, Pieces, Receipt, Request};
use bul_job::AttemptNo;
use bul_store::{Attempt, KeptText};
use tracing::debug;

use crate::Worker;
use crate::outcome::Stop;
use crate::prose::Writing;
use crate::turns;

/// How long the store may take for a text. Too high: a store that is slow or away holds up the documents themselves.
const STORE_MAX: Duration = Duration::from_secs(3);

/// The texts of one attempt.
#[derive(Default)]
pub(crate) struct Texts {
    /// What earlier attempts have left, by the digests of their requests.
    earlier: HashMap<[u8; 32], KeptText>,
    used: AtomicU64,
    has_kept: AtomicBool,
}

impl Texts {
    /// Texts that were taken from earlier attempts.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether this attempt may have left something in the store.
    pub(crate) fn has_kept(&self) -> bool {
        self.has_kept.load(Ordering::Relaxed)
    }

    /// The answer that an earlier attempt was given. It costs what one from a cache does: nothing.
    fn find(&self, model: &str, ask: impl Fn() -> Request) -> Option<Completion> {
        if self.earlier.is_empty() {
            return None;
        }
        let text = self.earlier.get(&digest(model, &ask()))?;
        self.used.fetch_add(1, Ordering::Relaxed);
        let prompt_tokens = text.prompt_tokens().into();
        let receipt = Receipt { prompt_tokens, cached_tokens: prompt_tokens, ..Receipt::default() };
        Some(Completion { text: text.text().to_owned(), finish: Finish::Stop, receipt })
    }
}

impl Worker {
    /// What earlier attempts of the job have left; a first attempt does not ask.
    pub(crate) async fn earlier_texts(&self, attempt: &Attempt) -> Texts {
        if attempt.attempt <= AttemptNo(1) || self.options.keep_texts_after.is_none() {
            return Texts::default();
        }
        let earlier = match tokio::time::timeout(STORE_MAX, self.store.kept_texts(attempt.id)).await {
            Ok(Ok(texts)) => texts,
            Ok(Err(error)) => {
                debug!(%error, "kept texts cannot be read and are written again");
                Vec::new()
            }
            Err(_) => {
                debug!("kept texts were not read in time and are written again");
                Vec::new()
            }
        };
        let earlier = earlier.into_iter().map(|text| (text.request(), text)).collect();
        Texts { earlier, ..Texts::default() }
    }

    /// Has a request answered: by what an earlier attempt has left, or else by the model.
    pub(crate) async fn asked(
        &self,
        writing: &Writing<'_>,
        ask: impl Fn() -> Request + Send + Sync,
        pieces: Option<Pieces>,
    ) -> Result<Completion, Stop> {
        if let Some(done) = writing.texts.find(&self.model_key, &ask) {
            if let Some(pieces) = pieces {
                // A slow reader is not waited for; the completion holds everything.
                let _ = pieces.try_send(done.text.clone());
            }
            return Ok(done);
        }
        let done = turns::generate(self.model.as_ref(), ask(), pieces, writing.cancel).await?;
        self.keep(writing, &ask, &done).await;
        Ok(done)
    }

    /// Leaves a text to the next attempt, if it would cost that one much. What came from a cache took no time.
    async fn keep(&self, writing: &Writing<'_>, ask: impl Fn() -> Request, done: &Completion) {
        let Some(after) = self.options.keep_texts_after else { return };
        if done.receipt.total_ms < after.as_secs_f64() * 1e3 {
            return;
        }
        let request = ask();
        if matches!(request.constraint, Some(Constraint::Schema { .. })) {
            return;
        }
        let request = digest(&self.model_key, &request);
        let Some(text) = KeptText::new(request, done.text.clone(), done.receipt.prompt_tokens) else {
            return;
        };
        // Before the answer: one that is lost may have been written.
        writing.texts.has_kept.store(true, Ordering::Relaxed);
        let Attempt { id, attempt, .. } = writing.attempt;
        match tokio::time::timeout(STORE_MAX, self.store.keep_text(*id, *attempt, &text)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "a text is not kept"),
            Err(_) => debug!("a text was not kept in time"),
        }
    }
}

/// Stands for a request and the model it is for. The form of Rust's own debugging output names every field and quotes every
/// text, so that no two requests have the same; should another compiler write it differently, texts are written again.
fn digest(model: &str, request: &Request) -> [u8; 32] {
    // The two others tell how it is computed and not what.
    let Request { id, tenant, session: _, messages, sampling, stop, constraint, priority: _ } = request;
    let version = env!("CARGO_PKG_VERSION");
    let form = format!("{:?}", (version, model, id, tenant, messages, sampling, stop, constraint));
    *blake3::hash(form.as_bytes()).as_bytes()
}

#[cfg(test)]
#[path = "texts_tests.rs"]
mod tests;
