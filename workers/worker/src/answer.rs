//! The generated part of a job that asks for a JSON value: one request, held to the job's schema.
//!
//! Called by `prose`. Invariant: nothing here trusts the model: assembly checks the value against the schema again.

use std::collections::BTreeMap;

use bul_engine::{Constraint, Receipt};
use bul_template::{ANSWER, Plan};

use crate::Worker;
use crate::outcome::Stop;
use crate::prose::Writing;

/// Room for the value, tokens, where the job sets no limit.
const TOKENS: usize = 1024;

impl Worker {
    /// Has the value of a plan written; nothing for a plan without one.
    pub(crate) async fn write_answer(
        &self,
        writing: &Writing<'_>,
        plan: &Plan,
    ) -> Result<(BTreeMap<String, String>, Receipt), Stop> {
        let Some(ask) = plan.answer() else { return Ok(Default::default()) };
        let _expected = self.ahead.expect(&ask.system, 1);
        let (part, tokens) = (part(writing.attempt.failures), room(self.model.info().context_tokens));
        let request = || {
            let constraint = Constraint::Schema { schema: ask.schema.clone() };
            self.request(writing, &part, (ask.system.clone(), ask.user.clone()), constraint, tokens)
        };
        let done = self.written(writing, ANSWER, request).await?;
        Ok((BTreeMap::from([(ANSWER.to_owned(), done.text)]), done.receipt))
    }
}

/// The name of the request, from which its seed follows. After a failure the model is asked with another one: what did not
/// fit would otherwise be written again, or come from the cache. A worker that died is no failure.
fn part(failures: u32) -> String {
    if failures == 0 { ANSWER.to_owned() } else { format!("{ANSWER}#{failures}") }
}

/// Half of a small model's context must do: the other half is the prompt's.
fn room(context_tokens: Option<usize>) -> usize {
    context_tokens.map_or(TOKENS, |context| TOKENS.min(context / 2).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_try_is_another_request_and_a_small_context_is_shared() {
        assert_eq!([part(0), part(1), part(2)], ["answer", "answer#1", "answer#2"]);
        assert_eq!([room(None), room(Some(1024)), room(Some(32_768)), room(Some(1))], [1024, 512, 1024, 1]);
    }
}
