//! A model without weights: deterministic text in the asked-for shape.
//!
//! For tests of everything around generation and for measuring the queue alone. The same request
//! gives the same text; delays and failures are asked for by options or by markers in the prompt.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::instance;
use crate::generate::{Generate, GenerateError, ModelInfo, Pieces};
use crate::job::{Completion, Constraint, Finish, Message, Receipt, Request};

/// A failure that a marker in the prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptedFailure {
    /// `GenerateError::Unavailable`
    Unavailable,
    /// `GenerateError::Rejected`
    Rejected,
    /// `GenerateError::Shape`
    Shape,
    /// `GenerateError::Engine`
    Engine,
}

/// Settings of the scripted model.
#[derive(Debug, Clone, Default)]
pub struct ScriptedOptions {
    /// Wait before each word.
    pub token_delay: Option<Duration>,
    /// Texts that, found in any message, fail the request.
    pub failures: Vec<(String, ScriptedFailure)>,
    /// A text that, found in any message, makes the request wait until it is cancelled.
    pub hang: Option<String>,
    /// A text that, found in any message, ends the process at once.
    pub abort: Option<String>,
}

/// The scripted model.
#[derive(Debug, Clone, Default)]
pub struct Scripted {
    options: ScriptedOptions,
}

const OPENINGS: [&str; 5] =
    ["The figures for", "A closer look at", "The present state of", "Our review of", "The work on"];
const MIDDLES: [&str; 5] = [
    "can be followed step by step and",
    "may be read in detail and",
    "will be kept up to date and",
    "must be seen as a whole and",
    "should be weighed with care and",
];
const ENDINGS: [&str; 5] = [
    "needs no action now",
    "supports the next step",
    "agrees with the tables",
    "follows the given data",
    "rests on checked sources",
];
const SUBJECTS: [&str; 4] = ["this document", "the period", "the matter", "the project"];
const HEADINGS: [&str; 10] = [
    "Summary",
    "Background",
    "Scope & Method",
    "Findings",
    "Figures",
    "Assessment",
    "Risks & Measures",
    "Next Steps",
    "Responsibilities",
    "Outlook",
];

impl Scripted {
    /// A scripted model with these settings.
    pub fn with(options: ScriptedOptions) -> Self {
        Self { options }
    }

    fn failure(&self, messages: &[Message]) -> Option<GenerateError> {
        let found = |marker: &str| messages.iter().any(|m| m.text.contains(marker));
        let (marker, failure) = self.options.failures.iter().find(|(marker, _)| found(marker))?;
        let reason = format!("asked for by the marker {marker:?}");
        Some(match failure {
            ScriptedFailure::Unavailable => GenerateError::Unavailable { reason, retry_after_ms: None },
            ScriptedFailure::Rejected => GenerateError::Rejected(reason),
            ScriptedFailure::Shape => GenerateError::Shape(reason),
            ScriptedFailure::Engine => GenerateError::Engine(reason),
        })
    }
}

#[async_trait]
impl Generate for Scripted {
    fn info(&self) -> ModelInfo {
        ModelInfo {
            kind: "scripted",
            name: "scripted".into(),
            architecture: String::new(),
            parameters: None,
            context_tokens: None,
            precision: String::new(),
            fingerprint: blake3::hash(b"bul-engine scripted v1").to_hex().to_string(),
        }
    }

    async fn generate(
        &self,
        request: Request,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
    ) -> Result<Completion, GenerateError> {
        if cancel.is_cancelled() {
            return Err(GenerateError::Cancelled);
        }
        if let Some(error) = self.failure(&request.messages) {
            return Err(error);
        }
        if self.options.abort.as_deref().is_some_and(|a| request.messages.iter().any(|m| m.text.contains(a)))
        {
            std::process::abort();
        }
        if self.options.hang.as_deref().is_some_and(|h| request.messages.iter().any(|m| m.text.contains(h))) {
            cancel.cancelled().await;
            return Err(GenerateError::Cancelled);
        }
        let full = answer(&request)?;
        let stop = request.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| full.find(s.as_str())).min();
        let full = &full[..stop.unwrap_or(full.len())];
        let mut text = String::new();
        let mut tokens = 0;
        for word in full.split_inclusive(' ').take(request.sampling.max_tokens) {
            if let Some(delay) = self.options.token_delay {
                tokio::select! {
                    () = cancel.cancelled() => return Err(GenerateError::Cancelled),
                    () = tokio::time::sleep(delay) => {}
                }
            }
            text.push_str(word);
            tokens += 1;
            if let Some(pieces) = &pieces {
                // A slow reader is not waited for; the completion holds everything.
                let _ = pieces.try_send(word.to_string());
            }
        }
        let finish = if text.len() == full.len() { Finish::Stop } else { Finish::Length };
        let prompt_tokens = request.messages.iter().map(|m| m.text.split_whitespace().count() as u64).sum();
        let receipt = Receipt { prompt_tokens, output_tokens: tokens, ..Receipt::default() };
        Ok(Completion { text, finish, receipt })
    }
}

/// Text that keeps to the request's constraint and depends on nothing but the request.
fn answer(request: &Request) -> Result<String, GenerateError> {
    let mut hasher = blake3::Hasher::new();
    for message in &request.messages {
        hasher.update(message.text.as_bytes());
    }
    hasher.update(&request.sampling.seed.to_le_bytes());
    let hash = hasher.finalize();
    let start = usize::from(hash.as_bytes()[0]);
    Ok(match &request.constraint {
        Some(Constraint::Outline { items }) => outline(*items),
        Some(Constraint::Prose { facts, sentences, .. }) => prose(facts, *sentences, start),
        Some(Constraint::Schema { schema }) => instance::of(schema).map_err(GenerateError::Rejected)?,
        None => prose(&[], 3, start),
    })
}

/// Letters that count: `a`, `b`, … `z`, `ba`, …; the shape allows no digits.
fn letters(mut n: usize) -> String {
    let mut out = Vec::new();
    loop {
        out.push(b'a' + (n % 26) as u8);
        n /= 26;
        if n == 0 {
            break;
        }
    }
    out.reverse();
    String::from_utf8_lossy(&out).into_owned()
}

fn prose(facts: &[String], sentences: usize, start: usize) -> String {
    let sentence = |i: usize| {
        let at = start + i;
        let mut subject = match facts.get(i) {
            Some(fact) => format!("[{fact}]"),
            None => SUBJECTS[at % SUBJECTS.len()].to_string(),
        };
        if i + 1 == sentences {
            subject.extend(facts.iter().skip(sentences).map(|f| format!(", [{f}]")));
        }
        let (opening, middle) = (OPENINGS[at % OPENINGS.len()], MIDDLES[at % MIDDLES.len()]);
        let ending = ENDINGS[at % ENDINGS.len()];
        if i < ENDINGS.len().min(OPENINGS.len()) {
            return format!("{opening} {subject} {middle} {ending}.");
        }
        // Words that occur once keep runs of six words from repeating in long answers.
        let mark = letters(i);
        format!("Section-{mark} covers {subject} here; item-{mark} {ending}.")
    };
    (0..sentences).map(sentence).collect::<Vec<_>>().join(" ")
}

fn outline(items: usize) -> String {
    let heading = |i: usize| match HEADINGS.get(i) {
        Some(heading) => format!("- {heading}"),
        None => format!("- Part {}", letters(i)),
    };
    (0..items).map(heading).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::check;
    use crate::testing::request;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn answers_keep_to_their_shape() {
        let facts: Vec<String> = ["total", "customer name", "x"].iter().map(|s| s.to_string()).collect();
        for n in [1, 2, 5, 40] {
            for constraint in [
                Constraint::Prose { facts: facts.clone(), sentences: n, said: Vec::new() },
                Constraint::Prose { facts: Vec::new(), sentences: n, said: Vec::new() },
                Constraint::Outline { items: n },
            ] {
                let mut request = request("hello");
                request.sampling.max_tokens = 10_000;
                request.constraint = Some(constraint.clone());
                let done =
                    Scripted::default().generate(request, None, CancellationToken::new()).await.unwrap();
                assert_eq!(check(&constraint, &done.text), Ok(()), "{}", done.text);
                assert_eq!(done.finish, Finish::Stop);
                if let Constraint::Prose { facts, .. } = constraint {
                    assert!(facts.iter().all(|f| done.text.contains(&format!("[{f}]"))), "{}", done.text);
                }
            }
        }
    }

    #[tokio::test]
    async fn a_schema_gets_its_smallest_value_or_a_plain_no() {
        let ask = |schema: &str| {
            let mut request = request("hello");
            request.constraint = Some(Constraint::Schema { schema: schema.into() });
            async { Scripted::default().generate(request, None, CancellationToken::new()).await }
        };
        let schema = r#"{"type": "array", "minItems": 2, "items": {"type": "integer", "minimum": 3}}"#;
        assert_eq!(ask(schema).await.unwrap().text, "[3,3]");
        let refused = ask(r#"{"type": "string", "pattern": "^b+$"}"#).await;
        assert!(matches!(refused, Err(GenerateError::Rejected(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn pieces_failures_and_cancellation() {
        let (sender, mut receiver) = mpsc::channel(100);
        let model = Scripted::with(ScriptedOptions {
            failures: vec![("FAIL".into(), ScriptedFailure::Rejected)],
            hang: Some("HANG".into()),
            ..Default::default()
        });
        let done = model.generate(request("a"), Some(sender), CancellationToken::new()).await.unwrap();
        let mut text = String::new();
        while let Some(piece) = receiver.recv().await {
            text.push_str(&piece);
        }
        assert_eq!(text, done.text);
        let failed = model.generate(request("x FAIL"), None, CancellationToken::new()).await;
        assert!(matches!(failed, Err(GenerateError::Rejected(_))));
        let cancel = CancellationToken::new();
        let hanging = model.generate(request("HANG"), None, cancel.clone());
        cancel.cancel();
        assert!(matches!(hanging.await, Err(GenerateError::Cancelled)));
    }
}
