//! The model as the worker sees it: a cache of finished texts before it, and a circuit breaker that replicas share.
//!
//! A job that runs again, because its process died or another slot failed, finds the texts it had written under the same
//! prompt, seed and model. Invariant: neither cache nor breaker can fail a generation; whatever is down is left out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_cache::{
    Answer, Cache, Computed, ConstraintPart, Entry, Fingerprint, Key, KeyParts, MessagePart, Meta, Owner,
    SamplingPart, SharedBreaker, Source,
};
use bul_engine::{
    CacheReport, Completion, Constraint, ExpectedPrefix, Finish, Forecast, Generate, GenerateError,
    ModelInfo, Pieces, Receipt, Request, Role, Scope,
};
use bul_runtime::breaker::Outcome;
use tokio_util::sync::CancellationToken;

/// Marks in a cached text how its generation ended.
const ENDED_BY_STOP: u8 = 0;
const ENDED_BY_LENGTH: u8 = 1;

/// A model behind a cache and a shared breaker, where there are any.
pub struct Model {
    inner: Arc<dyn Generate>,
    cache: Option<Texts>,
    breaker: Option<SharedBreaker>,
}

/// The cache and what all of its keys have in common.
pub struct Texts {
    /// Where texts are kept.
    pub cache: Cache,
    /// How long.
    pub ttl: Duration,
    /// The model, down to what changes its texts.
    pub model: String,
}

impl Model {
    /// Puts cache and breaker before `inner`.
    pub fn new(inner: Arc<dyn Generate>, cache: Option<Texts>, breaker: Option<SharedBreaker>) -> Self {
        Self { inner, cache, breaker }
    }

    /// Asks the model itself, unless the breaker knows better.
    async fn ask(
        &self,
        request: Request,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
    ) -> Result<Completion, GenerateError> {
        let Some(breaker) = &self.breaker else { return self.inner.generate(request, pieces, cancel).await };
        let pass = breaker.try_acquire().map_err(|wait| GenerateError::BreakerOpen {
            retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        })?;
        let result = self.inner.generate(request, pieces, cancel).await;
        pass.record(match &result {
            Ok(_) => Outcome::Success,
            // Its own breaker tells a server that is down from one that is busy, or that fails over one request.
            Err(
                GenerateError::Unavailable { .. }
                | GenerateError::Unreachable { .. }
                | GenerateError::BreakerOpen { .. },
            ) if self.inner.closed_for().is_some() => Outcome::Failure,
            Err(_) => Outcome::Ignored,
        });
        result
    }
}

#[async_trait]
impl Generate for Model {
    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn closed_for(&self) -> Option<Duration> {
        let shared = self.breaker.as_ref().and_then(SharedBreaker::closed_for);
        self.inner.closed_for().max(shared)
    }

    fn announce(&self, forecast: &Forecast) {
        self.inner.announce(forecast);
    }

    fn heeds_forecasts(&self) -> bool {
        self.inner.heeds_forecasts()
    }

    async fn warm_up(&self, prefix: &ExpectedPrefix, keep_for: Duration) -> Result<Receipt, GenerateError> {
        self.inner.warm_up(prefix, keep_for).await
    }

    async fn cache_report(&self) -> Option<CacheReport> {
        self.inner.cache_report().await
    }

    async fn generate(
        &self,
        request: Request,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
    ) -> Result<Completion, GenerateError> {
        let keyed = self.cache.as_ref().and_then(|texts| Some((texts, texts.key(&request)?)));
        let Some((texts, key)) = keyed else { return self.ask(request, pieces, cancel).await };
        let mut receipt = None;
        let written = {
            let receipt = &mut receipt;
            let (pieces, stop) = (pieces.clone(), cancel.clone());
            let compute = || async move {
                let done = self.ask(request, pieces, stop).await?;
                *receipt = Some(done.receipt);
                Ok(computed(&done))
            };
            tokio::select! {
                answer = texts.cache.get_or_compute(&key, texts.ttl, compute) => answer?,
                // While another job writes the same text, nobody else hears of the cancellation.
                () = cancel.cancelled() => return Err(GenerateError::Cancelled),
            }
        };
        Ok(completion(written, receipt, pieces.as_ref()))
    }
}

impl Texts {
    /// `None`: a text that has no key is not cached.
    fn key(&self, request: &Request) -> Option<Key> {
        let messages: Vec<MessagePart> = request
            .messages
            .iter()
            .map(|message| MessagePart {
                role: match message.role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                },
                text: &message.text,
                is_private: message.scope == Scope::Tenant,
            })
            .collect();
        let words;
        let constraint = match &request.constraint {
            None => None,
            Some(Constraint::Outline { items }) => {
                Some(ConstraintPart { kind: "outline", words: &[], count: *items as u64 })
            }
            Some(Constraint::Schema { schema }) => {
                Some(ConstraintPart { kind: "schema", words: std::slice::from_ref(schema), count: 0 })
            }
            Some(Constraint::Prose { facts, sentences, said }) => {
                // The empty word parts the two lists: no fact is without a name.
                words = facts.iter().chain([&String::new()]).chain(said).cloned().collect::<Vec<_>>();
                Some(ConstraintPart { kind: "prose", words: &words, count: *sentences as u64 })
            }
        };
        let sampling = SamplingPart {
            tokens_max: request.sampling.max_tokens as u64,
            temperature: request.sampling.temperature,
            top_p: request.sampling.top_p,
            seed: request.sampling.seed,
        };
        let parts = KeyParts {
            model: Fingerprint::new(&self.model, env!("CARGO_PKG_VERSION")).ok()?,
            owner: Owner::Tenant(&request.tenant),
            messages: &messages,
            sampling,
            stop: &request.stop,
            constraint,
        };
        parts.key().ok()
    }
}

fn computed(done: &Completion) -> Computed {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let meta = Meta {
        mark: if done.finish == Finish::Length { ENDED_BY_LENGTH } else { ENDED_BY_STOP },
        prompt_tokens: number(done.receipt.prompt_tokens),
        output_tokens: number(done.receipt.output_tokens),
        compute_ms: done.receipt.total_ms as u32,
    };
    Computed::Keep(Entry { body: done.text.clone().into(), meta })
}

fn completion(answer: Answer, receipt: Option<Receipt>, pieces: Option<&Pieces>) -> Completion {
    let Meta { mark, prompt_tokens, .. } = answer.entry.meta;
    let text = String::from_utf8_lossy(&answer.entry.body).into_owned();
    let finish = if mark == ENDED_BY_LENGTH { Finish::Length } else { Finish::Stop };
    if answer.source != Source::Computed
        && let Some(pieces) = pieces
    {
        // A slow reader is not waited for; the completion holds everything.
        let _ = pieces.try_send(text.clone());
    }
    // Nothing was generated for a text that was there: it costs no output tokens, and the whole prompt came from a cache.
    let found = Receipt {
        prompt_tokens: prompt_tokens.into(),
        cached_tokens: prompt_tokens.into(),
        attached: u64::from(answer.source == Source::Shared),
        ..Receipt::default()
    };
    Completion { text, finish, receipt: receipt.unwrap_or(found) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bul_cache::{CacheMetrics, CacheOptions};
    use bul_engine::{Message, Sampling};
    use bul_runtime::breaker::BreakerOptions;

    use super::*;

    /// Counts its calls; fails while `down`; its own breaker is `open`.
    #[derive(Default)]
    struct Counting {
        calls: AtomicUsize,
        down: std::sync::atomic::AtomicBool,
        open: std::sync::atomic::AtomicBool,
    }

    #[async_trait]
    impl Generate for Counting {
        fn info(&self) -> ModelInfo {
            bul_engine::ModelInfo {
                kind: "local",
                name: "counting".into(),
                architecture: String::new(),
                parameters: None,
                context_tokens: None,
                precision: String::new(),
                fingerprint: "counting".into(),
            }
        }

        fn closed_for(&self) -> Option<Duration> {
            self.open.load(Ordering::SeqCst).then_some(Duration::from_secs(1))
        }

        async fn generate(
            &self,
            request: Request,
            _: Option<Pieces>,
            _: CancellationToken,
        ) -> Result<Completion, GenerateError> {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.down.load(Ordering::SeqCst) {
                return Err(GenerateError::Unavailable { reason: "down".into(), retry_after_ms: None });
            }
            let text = format!("{} call {call}", request.messages[0].text);
            let receipt = Receipt { prompt_tokens: 7, output_tokens: 3, ..Receipt::default() };
            Ok(Completion { text, finish: Finish::Stop, receipt })
        }
    }

    fn request(tenant: &str, text: &str, seed: u64) -> Request {
        Request {
            id: uuid::Uuid::new_v4().to_string(),
            tenant: tenant.into(),
            session: None,
            messages: vec![Message { role: Role::User, text: text.into(), scope: Scope::Tenant }],
            sampling: Sampling { seed, ..Sampling::default() },
            stop: Vec::new(),
            constraint: Some(Constraint::Prose { facts: vec!["due".into()], sentences: 2, said: Vec::new() }),
            priority: 1,
        }
    }

    fn model(breaker: Option<SharedBreaker>) -> (Arc<Counting>, Arc<Model>) {
        let counting = Arc::new(Counting::default());
        let (cache, _upkeep) =
            Cache::over(Vec::new(), CacheOptions::default(), &CacheMetrics::unregistered());
        let texts = Texts { cache, ttl: Duration::from_secs(60), model: "counting".into() };
        (counting.clone(), Arc::new(Model::new(counting, Some(texts), breaker)))
    }

    async fn write(model: &Model, request: Request) -> Result<Completion, GenerateError> {
        model.generate(request, None, CancellationToken::new()).await
    }

    #[tokio::test]
    async fn the_same_request_is_written_once_and_told_apart_by_all_that_matters() {
        let (counting, model) = model(None);
        let first = write(&model, request("acme", "a", 1)).await.unwrap();
        let again = write(&model, request("acme", "a", 1)).await.unwrap();
        assert_eq!((&first.text, first.receipt.output_tokens), (&again.text, 3));
        assert_eq!((again.receipt.output_tokens, again.receipt.cached_tokens), (0, 7), "it cost nothing");
        assert_eq!(counting.calls.load(Ordering::SeqCst), 1);
        let mut said = request("acme", "a", 1);
        said.constraint =
            Some(Constraint::Prose { facts: Vec::new(), sentences: 2, said: vec!["due".into()] });
        for other in [request("other", "a", 1), request("acme", "b", 1), request("acme", "a", 2), said] {
            let before = counting.calls.load(Ordering::SeqCst);
            write(&model, other).await.unwrap();
            assert_eq!(counting.calls.load(Ordering::SeqCst), before + 1);
        }
    }

    #[tokio::test]
    async fn a_text_from_the_cache_is_streamed_and_requests_at_the_same_time_share_one() {
        let (counting, model) = model(None);
        let (sender, mut pieces) = tokio::sync::mpsc::channel(8);
        let both = tokio::join!(
            write(&model, request("acme", "a", 1)),
            model.generate(request("acme", "a", 1), Some(sender), CancellationToken::new())
        );
        let (first, second) = (both.0.unwrap(), both.1.unwrap());
        assert_eq!((counting.calls.load(Ordering::SeqCst), &first.text), (1, &second.text));
        assert_eq!((first.receipt.attached, second.receipt.attached), (0, 1));
        assert_eq!(pieces.recv().await.as_ref(), Some(&first.text));
    }

    #[tokio::test]
    async fn cancellation_reaches_those_who_wait_for_another() {
        let (_, model) = model(None);
        let leader = tokio::spawn({
            let model = model.clone();
            async move { write(&model, request("acme", "a", 1)).await }
        });
        tokio::task::yield_now().await;
        let cancel = CancellationToken::new();
        cancel.cancel();
        let waiter = model.generate(request("acme", "a", 1), None, cancel).await;
        assert!(matches!(waiter, Err(GenerateError::Cancelled)), "{waiter:?}");
        leader.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_open_breaker_says_so_and_a_failure_is_not_kept() {
        let options =
            BreakerOptions { calls_min: 1, failure_rate: 0.0, open_ms: 60_000, ..BreakerOptions::default() };
        let breaker = SharedBreaker::local("model", options, &CacheMetrics::unregistered());
        let (counting, model) = model(Some(breaker));
        counting.down.store(true, Ordering::SeqCst);
        for opens in [false, true] {
            counting.open.store(opens, Ordering::SeqCst);
            let failed = write(&model, request("acme", "a", 1)).await;
            assert!(matches!(failed, Err(GenerateError::Unavailable { .. })), "{failed:?}");
            counting.open.store(false, Ordering::SeqCst);
            assert_eq!(
                model.closed_for().is_some(),
                opens,
                "others hear of what the model's own breaker says"
            );
        }
        let refused = write(&model, request("acme", "a", 1)).await;
        assert!(matches!(refused, Err(GenerateError::BreakerOpen { .. })), "{refused:?}");
        assert_eq!(counting.calls.load(Ordering::SeqCst), 2, "nothing is asked while it is open");
    }
}
