//! Earlier turns of a job's session: read before its prompts are made, put between instructions and request, and left behind for
//! the jobs that follow.
//!
//! Called by `attempt`, `prose` and `texts`. Invariants: every attempt of a job is told the same turns, those of jobs that were
//! completed before it was accepted; what was said is never an instruction, and never anybody's but the tenant's.

use std::collections::BTreeMap;
use std::time::Duration;

use bul_document::Document;
use bul_engine::{Completion, Generate, GenerateError, Message, Pieces, Request, Role, Scope};
use bul_job::{Failure, FailureClass};
use bul_store::{Attempt, SessionTurn, StoreError, StoreErrorClass};
use bul_template::{ANSWER, Plan, Turn};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::Worker;
use crate::outcome::Stop;

/// How long the store may take for the turns of a session.
const STORE_MAX: Duration = Duration::from_secs(10);
/// Bytes of turns in a prompt, for a model with a long context.
const BYTES_MAX: usize = 64 * 1024;
/// The same where nobody knows how long it is.
const BYTES_MAX_UNKNOWN: usize = 8 * 1024;

impl Worker {
    /// What the job is told of its session, the newest turn last. A store that does not answer is no reason to leave out what was
    /// said: the job is handed back.
    pub(crate) async fn earlier_turns(&self, attempt: &Attempt) -> Result<Vec<SessionTurn>, Stop> {
        let Some(session) = attempt.job.session_id.as_deref().filter(|_| self.options.session_turns > 0)
        else {
            return Ok(Vec::new());
        };
        let (until, limit) = (attempt.accepted_at, self.options.session_turns);
        let turns = self.store.session_turns(&attempt.tenant, session, until, limit);
        let turns = match tokio::time::timeout(STORE_MAX, turns).await {
            Ok(Ok(turns)) => turns,
            Ok(Err(error)) if error.class() == StoreErrorClass::Transient => {
                return Err(paused(&error.to_string()));
            }
            Ok(Err(error)) => return Err(unreadable(&error)),
            Err(_) => return Err(paused("no answer in time")),
        };
        Ok(fitting(turns, room(self.model.info().context_tokens)))
    }

    /// The turn of a value by a schema, word for word.
    pub(crate) fn answered(
        &self,
        attempt: &Attempt,
        plan: &Plan,
        texts: &BTreeMap<String, String>,
    ) -> Option<(String, SessionTurn)> {
        self.turn(attempt, || Some(Turn::of_answer(plan.answer()?, texts.get(ANSWER)?)))
    }

    /// The turn of a document, in short.
    pub(crate) fn told(&self, attempt: &Attempt, document: &Document) -> Option<(String, SessionTurn)> {
        self.turn(attempt, || Some(Turn::of_document(document, attempt.job.query.as_deref())))
    }

    fn turn(&self, attempt: &Attempt, make: impl Fn() -> Option<Turn>) -> Option<(String, SessionTurn)> {
        let session = attempt.job.session_id.as_ref().filter(|_| self.options.session_turns > 0)?;
        let Turn { user, assistant } = make()?;
        Some((session.clone(), SessionTurn::new(user, assistant)?))
    }
}

fn paused(why: &str) -> Stop {
    Stop::Paused { reason: format!("what was said in its session cannot be read now: {why}") }
}

/// Handing back would go in circles.
fn unreadable(error: &StoreError) -> Stop {
    let message = format!("what was said in its session cannot be read: {error}");
    let (class, code) = (FailureClass::Transient, "session_turns".into());
    Stop::Failed(Failure { class, code, message, retry_after_ms: None })
}

/// Bytes of turns in a prompt: a quarter of the context, at some four bytes a token.
fn room(context_tokens: Option<usize>) -> usize {
    context_tokens.map_or(BYTES_MAX_UNKNOWN, |tokens| tokens.min(BYTES_MAX))
}

/// The newest turns that fit together.
fn fitting(mut turns: Vec<SessionTurn>, bytes_max: usize) -> Vec<SessionTurn> {
    let mut bytes = 0;
    let fits = |turn: &&SessionTurn| {
        bytes += turn.bytes();
        bytes <= bytes_max
    };
    let count = turns.iter().rev().take_while(fits).count();
    turns.split_off(turns.len() - count)
}

/// The messages of a prompt: instructions, which are everybody's; what was said before; the request.
pub(crate) fn messages(system: String, turns: &[SessionTurn], user: String) -> Vec<Message> {
    let own = |role, text: &str| Message { role, text: text.to_owned(), scope: Scope::Tenant };
    let mut messages = Vec::with_capacity(2 + 2 * turns.len());
    messages.push(Message { role: Role::System, text: system, scope: Scope::Public });
    for turn in turns {
        messages.extend([own(Role::User, turn.user()), own(Role::Assistant, turn.assistant())]);
    }
    messages.push(Message { role: Role::User, text: user, scope: Scope::Tenant });
    messages
}

/// Asks the model. What is too long with its turns is asked without the oldest, and what is refused with them without any: a
/// session must not make a job fail that would succeed alone.
pub(crate) async fn generate(
    model: &dyn Generate,
    mut request: Request,
    pieces: Option<Pieces>,
    cancel: &CancellationToken,
) -> Result<Completion, GenerateError> {
    loop {
        let again = (turns_of(&request) > 0).then(|| request.clone());
        let error = match model.generate(request, pieces.clone(), cancel.clone()).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let forgets = match &error {
            GenerateError::TooLong { .. } => 1,
            GenerateError::Rejected(_) => usize::MAX,
            GenerateError::Cancelled
            | GenerateError::Unavailable { .. }
            | GenerateError::Unreachable { .. }
            | GenerateError::BreakerOpen { .. }
            | GenerateError::Shape(_)
            | GenerateError::Engine(_) => return Err(error),
        };
        let Some(mut shorter) = again else { return Err(error) };
        let forgets = forgets.min(turns_of(&shorter));
        debug!(%error, turns = forgets, "asked again without turns of its session");
        shorter.messages.drain(1..=2 * forgets);
        request = shorter;
    }
}

/// Turns between the instructions and the request itself.
fn turns_of(request: &Request) -> usize {
    request.messages.len().saturating_sub(2) / 2
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
