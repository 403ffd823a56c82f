//! What the next step computes: a pure function of how far each sequence is.
//!
//! Sequences that decode always run; the rest of the token budget goes to prompts, first come
//! first served, in chunks. So a long prompt delays others by one chunk, not by its length.

/// How far a running sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Tokens whose keys and values are written.
    pub computed: usize,
    /// Tokens known, prompt and answer.
    pub known: usize,
}

/// Tokens of one sequence to compute in the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Index of the sequence.
    pub sequence: usize,
    /// Number of tokens, at least one.
    pub tokens: usize,
    /// Does this reach the last known token, so that the next can be drawn?
    pub last: bool,
}

/// Divides `prefill_tokens_max` among the prompts; decodes (one token missing) are free.
pub(crate) fn plan(running: &[Progress], prefill_tokens_max: usize) -> Vec<Share> {
    let mut budget = prefill_tokens_max.max(1);
    let mut shares = Vec::with_capacity(running.len());
    for (sequence, progress) in running.iter().enumerate() {
        let missing = progress.known - progress.computed;
        let tokens = if missing == 1 { 1 } else { missing.min(budget) };
        if missing > 1 {
            budget -= tokens;
        }
        if tokens > 0 {
            shares.push(Share { sequence, tokens, last: tokens == missing });
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(running: &[(usize, usize)], budget: usize, expected: &[(usize, usize, bool)]) {
        let running: Vec<_> = running.iter().map(|&(computed, known)| Progress { computed, known }).collect();
        let shares: Vec<_> = plan(&running, budget).iter().map(|s| (s.sequence, s.tokens, s.last)).collect();
        assert_eq!(shares, expected);
    }

    #[test]
    fn decodes_run_and_prompts_share_the_budget_in_order() {
        check(&[], 8, &[]);
        check(&[(0, 20)], 8, &[(0, 8, false)]);
        check(&[(16, 20)], 8, &[(0, 4, true)]);
        check(&[(0, 20), (9, 10), (0, 5)], 8, &[(0, 8, false), (1, 1, true)]);
        check(&[(16, 20), (9, 10), (0, 5)], 8, &[(0, 4, true), (1, 1, true), (2, 4, false)]);
    }
}
