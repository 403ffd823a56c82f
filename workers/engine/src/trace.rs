//! A request's way through the engine: how often it gave way, what it computed again, and its spans.
//!
//! Each caller has a span `generate` below the span in which it asked. Under that of the first of them stand, one after
//! the other, `queue`, `restore`, `prefill`, `decode`, and `preempted` where the request had to give way. All are of level
//! debug. Invariant: spans carry ids and numbers alone, no text of a prompt or an answer and no tenant.

use tracing::field::Empty;
use tracing::{Span, debug, debug_span};

use crate::job::Receipt;
use crate::sequence::Sequence;

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for its first start.
    Queue,
    /// Computes what it knows already: its prompt; behind a preemption its answer so far, too.
    Prefill,
    /// Draws tokens.
    Decode,
    /// Has given its blocks back and waits to start again.
    Preempted,
}

/// What has become of a request so far.
pub(crate) struct Trace {
    pub preemptions: u64,
    /// Tokens computed a second time, or found in the cache and computed nevertheless, because of preemptions.
    pub recomputed_tokens: u64,
    /// Tokens from the first on that it has ever had keys and values of.
    reached: usize,
    phase: Phase,
    phase_tokens: u64,
    span: Span,
}

/// The span of a caller. It is made where the caller asks, so that it stands below the span of its attempt.
pub(crate) fn caller(request: &str) -> Span {
    debug_span!(
        "generate",
        request,
        outcome = Empty,
        prompt_tokens = Empty,
        cached_tokens = Empty,
        host_tokens = Empty,
        disk_tokens = Empty,
        remote_tokens = Empty,
        output_tokens = Empty,
        attached = Empty,
        preemptions = Empty,
        recomputed_tokens = Empty,
    )
}

/// Writes into a span of [`Sequence::restoring`] what came from where.
pub(crate) fn restored(span: &Span, [host, disk, remote]: [usize; 3]) {
    span.record("host_tokens", host).record("disk_tokens", disk).record("remote_tokens", remote);
}

/// Writes into the span of a caller how its request ended.
pub(crate) fn ended(caller: &Span, outcome: &'static str, receipt: &Receipt) {
    if caller.is_disabled() {
        return;
    }
    caller
        .record("outcome", outcome)
        .record("prompt_tokens", receipt.prompt_tokens)
        .record("cached_tokens", receipt.cached_tokens)
        .record("host_tokens", receipt.host_tokens)
        .record("disk_tokens", receipt.disk_tokens)
        .record("remote_tokens", receipt.remote_tokens)
        .record("output_tokens", receipt.output_tokens)
        .record("attached", receipt.attached)
        .record("preemptions", receipt.preemptions)
        .record("recomputed_tokens", receipt.recomputed_tokens);
    let Receipt { queue_ms, first_token_ms, total_ms, .. } = receipt;
    debug!(parent: caller, queue_ms, first_token_ms, total_ms, "ended");
}

impl Trace {
    /// Of a request that has just come.
    pub fn new(caller: &Span) -> Self {
        Self {
            preemptions: 0,
            recomputed_tokens: 0,
            reached: 0,
            phase: Phase::Queue,
            phase_tokens: 0,
            span: debug_span!(parent: caller, "queue"),
        }
    }

    /// Takes in that there are keys and values of so many tokens from the first on, which cost nothing.
    pub fn found(&mut self, tokens: usize) {
        self.reached = self.reached.max(tokens);
    }

    /// Takes in that `tokens` behind the first `from` were computed; how many of them it had had before.
    pub fn computed(&mut self, from: usize, tokens: usize) -> u64 {
        let again = self.reached.saturating_sub(from).min(tokens) as u64;
        self.reached = self.reached.max(from + tokens);
        self.recomputed_tokens += again;
        self.phase_tokens += tokens as u64;
        again
    }

    /// Closes the span of the phase.
    pub fn close(&mut self) {
        self.span.record("tokens", self.phase_tokens);
        self.phase_tokens = 0;
        self.span = Span::none();
    }
}

impl Sequence {
    /// Goes into a phase; nothing happens if it is there already.
    pub fn enter(&mut self, phase: Phase) {
        if self.trace.phase == phase {
            return;
        }
        self.trace.close();
        let Some(caller) = self.readers.first().map(|reader| &reader.span) else { return };
        let span = match phase {
            Phase::Queue => debug_span!(parent: caller, "queue"),
            Phase::Prefill => {
                debug_span!(parent: caller, "prefill", found_tokens = self.computed, tokens = Empty)
            }
            Phase::Decode => debug_span!(parent: caller, "decode", tokens = Empty),
            Phase::Preempted => debug_span!(parent: caller, "preempted", given_up_tokens = self.computed),
        };
        (self.trace.phase, self.trace.span) = (phase, span);
    }

    /// The span in which blocks are brought back from slower tiers.
    pub fn restoring(&self) -> Span {
        let Some(caller) = self.readers.first().map(|reader| &reader.span) else { return Span::none() };
        debug_span!(parent: caller, "restore", host_tokens = Empty, disk_tokens = Empty, remote_tokens = Empty)
    }

    /// Takes in that its next `tokens` are computed; how many of them it had had before.
    pub fn advance(&mut self, tokens: usize) -> u64 {
        let again = self.trace.computed(self.computed, tokens);
        self.computed += tokens;
        again
    }

    /// Forgets what was computed, to start again later.
    pub fn rewind(&mut self) {
        self.enter(Phase::Preempted);
        self.trace.preemptions += 1;
        self.announced = 0;
        self.computed = 0;
        self.sealed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_before_is_computed_again() {
        let mut trace = Trace::new(&Span::none());
        trace.found(8);
        assert_eq!(trace.computed(8, 4), 0);
        // Started again with less than it had, twice; the second time before it was as far as before.
        trace.found(4);
        assert_eq!(trace.computed(4, 3), 3);
        assert_eq!([trace.computed(0, 2), trace.computed(2, 8), trace.computed(10, 5)], [2, 8, 2]);
        assert_eq!((trace.recomputed_tokens, trace.computed(15, 1)), (15, 0));
    }
}
