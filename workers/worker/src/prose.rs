//! The generated part of a document: an outline where the template asks for one, then its slots.

use std::collections::BTreeMap;
use std::time::Duration;

use bul_engine::{Completion, Constraint, Receipt, Request, Sampling};
use bul_job::EventKind;
use bul_store::{Attempt, SessionTurn};
use bul_template::{Plan, ProseSlot};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Worker;
use crate::outcome::Stop;
use crate::texts::Texts;
use crate::turns;

/// Slots of one document that are written at the same time.
const SLOTS_MAX: usize = 4;
/// Takes of one slot; what still contradicts the data then is left out by assembly.
const TAKES_MAX: usize = 4;
/// Room for one sentence, tokens, where the job sets no limit.
const TOKENS_PER_SENTENCE: usize = 64;
/// Room for one heading, tokens.
const TOKENS_PER_HEADING: usize = 24;
/// Pieces on their way to the watchers; when full, pieces are dropped, never the generation held up.
const PIECES_MAX: usize = 256;
/// Time between two events with pieces of one text.
const PIECES_EVERY: Duration = Duration::from_millis(40);

/// What the requests of one attempt have in common.
pub(crate) struct Writing<'a> {
    pub(crate) attempt: &'a Attempt,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) texts: &'a Texts,
    /// What was said before in the job's session, the newest last.
    pub(crate) turns: &'a [SessionTurn],
}

impl Worker {
    /// Writes all prose of a plan. Texts are keyed by slot.
    pub(crate) async fn generate(
        &self,
        writing: &Writing<'_>,
        plan: &mut Plan,
    ) -> Result<(BTreeMap<String, String>, Receipt), Stop> {
        let (attempt, started) = (writing.attempt, std::time::Instant::now());
        if plan.answer().is_some() {
            let written = self.write_answer(writing, plan).await;
            self.metrics.stage("generate", started.elapsed());
            return written;
        }
        let mut receipt = Receipt::default();
        if let Some(outline) = plan.outline() {
            let ask = || {
                let constraint = Constraint::Outline { items: outline.items };
                let prompt = (outline.system.clone(), outline.user.clone());
                self.request(writing, "outline", prompt, constraint, outline.items * TOKENS_PER_HEADING)
            };
            let done = self.asked(writing, ask, None).await?;
            receipt.add(&done.receipt);
            plan.expand(&headings(&done.text))?;
        }
        let mut first = plan.slots().to_vec();
        let total = first.len();
        let mut texts = BTreeMap::new();
        let system = first.first().map(|slot| slot.system.clone()).unwrap_or_default();
        let mut expected = self.ahead.expect(&system, total);
        // The first slot alone: it fills the cache with the prefix that all others share.
        let rest = first.split_off(total.min(1));
        for group in [first, rest] {
            let mut written = stream::iter(group)
                .map(|slot| async move { self.slot(writing, slot, &[]).await })
                .buffer_unordered(SLOTS_MAX);
            while let Some((id, text, cost)) = written.try_next().await? {
                receipt.add(&cost);
                texts.insert(id, text);
                expected.one_done();
                self.progress(attempt, "generate", texts.len(), total).await;
            }
        }
        receipt.add(&self.rewrite_repeats(writing, plan, &mut texts).await?);
        self.metrics.stage("generate", started.elapsed());
        Ok((texts, receipt))
    }

    /// Writes those slots again that repeat sentences of earlier ones. Decided on the finished texts in
    /// document order, so that a retry of the job comes to the same document.
    async fn rewrite_repeats(
        &self,
        writing: &Writing<'_>,
        plan: &Plan,
        texts: &mut BTreeMap<String, String>,
    ) -> Result<Receipt, Stop> {
        let mut receipt = Receipt::default();
        let mut said = Vec::new();
        for slot in plan.slots() {
            let Some(text) = texts.get(&slot.id).cloned() else { continue };
            let before = repeats(&text, &said);
            if before > 0 {
                let (id, new, cost) = self.slot(writing, slot.clone(), &said).await?;
                receipt.add(&cost);
                if repeats(&new, &said) < before && slot.contradictions(&new) <= slot.contradictions(&text) {
                    texts.insert(id, new);
                }
            }
            said.extend(texts.get(&slot.id).into_iter().flat_map(|text| spoken(text).map(ToOwned::to_owned)));
        }
        Ok(receipt)
    }

    /// Writes one slot; again, with another seed, while the text says the opposite of its data or what
    /// has been `said` already.
    async fn slot(
        &self,
        writing: &Writing<'_>,
        slot: ProseSlot,
        said: &[String],
    ) -> Result<(String, String, Receipt), Stop> {
        let mut receipt = Receipt::default();
        let mut best: Option<(usize, String)> = None;
        for take in 0..TAKES_MAX {
            let part = match (take, said.is_empty()) {
                (0, true) => slot.id.clone(),
                (take, true) => format!("{}#{take}", slot.id),
                (take, false) => format!("{}~{take}", slot.id),
            };
            let done = self.take(writing, &slot, &part, said).await?;
            receipt.add(&done.receipt);
            let wrong = slot.contradictions(&done.text) + repeats(&done.text, said);
            if best.as_ref().is_none_or(|(least, _)| wrong < *least) {
                best = Some((wrong, done.text));
            }
            if wrong == 0 {
                break;
            }
        }
        let text = best.map(|(_, text)| text).unwrap_or_default();
        Ok((slot.id, text, receipt))
    }

    async fn take(
        &self,
        writing: &Writing<'_>,
        slot: &ProseSlot,
        part: &str,
        said: &[String],
    ) -> Result<Completion, Stop> {
        let ask = || {
            let (facts, sentences, said) = (slot.facts.clone(), slot.sentences, said.to_vec());
            let constraint = Constraint::Prose { facts, sentences, said };
            let prompt = (slot.system.clone(), slot.user.clone());
            self.request(writing, part, prompt, constraint, sentences * TOKENS_PER_SENTENCE)
        };
        self.written(writing, &slot.id, ask).await
    }

    /// Has one request answered, and tells the watchers of `slot` what is written meanwhile.
    pub(crate) async fn written(
        &self,
        writing: &Writing<'_>,
        slot: &str,
        ask: impl Fn() -> Request + Send + Sync,
    ) -> Result<Completion, Stop> {
        let attempt = writing.attempt;
        let (pieces, mut heard) = mpsc::channel::<String>(PIECES_MAX);
        let generate = self.asked(writing, ask, Some(pieces));
        let done = {
            let forward = self.forward(attempt, slot, &mut heard);
            tokio::pin!(forward);
            tokio::select! {
                biased;
                done = generate => done,
                never = &mut forward => match never {},
            }
        };
        self.tell_pieces(attempt, slot, &mut heard, String::new()).await;
        done
    }

    /// Tells the watchers what has been written, a few times a second: an event for each token would be most of the
    /// traffic of a busy installation.
    async fn forward(
        &self,
        attempt: &Attempt,
        slot: &str,
        heard: &mut mpsc::Receiver<String>,
    ) -> std::convert::Infallible {
        while let Some(text) = heard.recv().await {
            self.tell_pieces(attempt, slot, heard, text).await;
            tokio::time::sleep(PIECES_EVERY).await;
        }
        std::future::pending().await
    }

    async fn tell_pieces(
        &self,
        attempt: &Attempt,
        slot: &str,
        heard: &mut mpsc::Receiver<String>,
        mut text: String,
    ) {
        while let Ok(more) = heard.try_recv() {
            text.push_str(&more);
        }
        if !text.is_empty() {
            self.event(attempt, EventKind::Token { slot: slot.to_owned(), text }).await;
        }
    }

    pub(crate) fn request(
        &self,
        writing: &Writing<'_>,
        part: &str,
        (system, user): (String, String),
        constraint: Constraint,
        tokens: usize,
    ) -> Request {
        let attempt = writing.attempt;
        let params = &attempt.job.params;
        Request {
            id: format!("{}/{part}", attempt.id),
            tenant: attempt.tenant.to_string(),
            session: attempt.job.session_id.clone(),
            messages: turns::messages(system, writing.turns, user),
            sampling: Sampling {
                max_tokens: params.max_tokens.map_or(tokens, |n| n as usize),
                temperature: params.temperature.unwrap_or(self.options.temperature),
                top_p: params.top_p.unwrap_or(self.options.top_p),
                seed: seed(attempt, part),
            },
            stop: Vec::new(),
            constraint: Some(constraint),
            priority: attempt.job.lane.index() as u8,
        }
    }
}

/// Sentences of a text as they are compared.
fn spoken(text: &str) -> impl Iterator<Item = &str> {
    ProseSlot::sentences(text).into_iter()
}

/// Sentences that have been said before.
fn repeats(text: &str, said: &[String]) -> usize {
    let is_known = |sentence: &str| said.iter().any(|known| known.eq_ignore_ascii_case(sentence));
    spoken(text).filter(|sentence| is_known(sentence)).count()
}

/// The same for every attempt of a job, so that a retry writes the same text; different for every
/// part, so that two parts do not begin alike.
fn seed(attempt: &Attempt, part: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    match attempt.job.params.seed {
        Some(seed) => hasher.update(&seed.to_le_bytes()),
        None => hasher.update(attempt.id.as_bytes()),
    };
    hasher.update(part.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// The headings of an outline `- One\n- Two`.
fn headings(outline: &str) -> Vec<String> {
    outline
        .lines()
        .map(|line| line.trim().trim_start_matches("- ").trim())
        .filter(|line| !line.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}
