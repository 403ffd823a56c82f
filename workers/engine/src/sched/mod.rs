//! What the next step computes: a pure function of the engine's state.
//!
//! Sequences stand in one order of [`Place`]s. Going down that order, each gets the tokens and
//! blocks that it wants; where blocks run out, a later sequence gives its own back and starts
//! again when there is room. So the first in order always gets on, and every other one in turn.
//! `engine` gathers the [`Facts`], carries the [`Plan`] out and asks again.

mod admit;
#[cfg(test)]
mod tests;

use crate::kv::key::BlockKey;
use crate::kv::quota::{Demand, Ledger, Short, TenantId};

/// How many later arrivals of the best lane may pass a request per lane that it stands below
/// them. Without this a steady stream of urgent requests would hold up the others for ever.
const PATIENCE: u64 = 256;

/// Where a request stands in line: lower is earlier. Unique, and never changed once given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    rank: u64,
    arrival: u64,
}

impl Place {
    /// Place of the `arrival`-th request, of lane `priority`.
    pub fn new(arrival: u64, priority: u8) -> Self {
        Self { rank: arrival.saturating_add(PATIENCE * u64::from(priority)), arrival }
    }
}

/// How much memory a request must find before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// Blocks for what is known of it. Fuller batches; under pressure some start again.
    Known,
    /// Blocks for its longest answer. Nothing is ever computed twice.
    Longest,
}

/// Limits of one engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub block_tokens: usize,
    /// Tokens of one step, prompts and answers together.
    pub step_tokens_max: usize,
    pub running_max: usize,
    pub reserve: Reserve,
}

impl Limits {
    fn blocks(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block_tokens)
    }
}

/// A sequence, as far as planning goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub place: Place,
    pub lane: u8,
    pub tenant: TenantId,
    /// Tokens whose keys and values are written.
    pub computed: usize,
    /// Tokens known, prompt and answer.
    pub known: usize,
    /// Tokens of prompt and longest answer.
    pub longest: usize,
    /// Blocks from the start that hold public text alone.
    pub public_blocks: usize,
    /// Blocks held; for a waiting sequence, blocks that it would find in the cache.
    pub blocks: usize,
}

impl Progress {
    fn missing(&self) -> usize {
        self.known - self.computed
    }

    /// Blocks still to be taken until there are `blocks` of them.
    fn demand(&self, blocks: usize) -> Demand {
        let public = self.public_blocks.min(blocks).saturating_sub(self.blocks);
        Demand { public, own: blocks.saturating_sub(self.blocks) - public, ..Demand::default() }
    }
}

/// A request that has not started, or has given its blocks back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// `computed` is what it would find in the cache.
    pub progress: Progress,
    /// Keys that may be matched.
    pub keys: &'a [BlockKey],
    /// Found in the cache and held by nobody: public text, own text.
    pub idle: (usize, usize),
    /// Does a running sequence compute the first key that was not found?
    pub prefix_under_way: bool,
}

/// All that planning looks at.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub limits: Limits,
    /// In order.
    pub running: &'a [Progress],
    /// In order; a beginning of the queue is enough.
    pub waiting: &'a [Waiting<'a>],
    pub ledger: Ledger,
}

/// Tokens of one sequence to compute in the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub place: Place,
    /// Number of tokens, at least one.
    pub tokens: usize,
    /// Does this reach the last known token, so that the next can be drawn?
    pub last: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// This one gives its blocks back; then plan again.
    Preempt(Place),
    /// Start `admit`, then compute `shares`.
    Run {
        /// Waiting requests to start.
        admit: Vec<Place>,
        /// Work of the step, in order.
        shares: Vec<Share>,
    },
}

/// Plans the next step.
pub(crate) fn plan(facts: &Facts<'_>) -> Plan {
    let mut draft = Draft::new(facts);
    let mut blocks = Vec::with_capacity(facts.running.len());
    for (at, progress) in facts.running.iter().enumerate() {
        let tokens = draft.tokens(progress);
        let demand = progress.demand(facts.limits.blocks(progress.computed + tokens));
        match draft.ledger.take(progress.tenant, demand) {
            Ok(()) => {}
            Err(Short::Blocks) => return Plan::Preempt(victim(&facts.running[at..])),
            // Blocks of others would not help.
            Err(Short::Cap) => {
                let same = facts.running[at..].iter().filter(|p| p.tenant == progress.tenant);
                return Plan::Preempt(victim(&same.copied().collect::<Vec<_>>()));
            }
        }
        draft.share(progress, tokens);
        blocks.push(progress.blocks + demand.new_blocks());
    }
    draft.promise(facts.running, &blocks);
    if let Some(place) = admit::make_room(facts, &draft) {
        return Plan::Preempt(place);
    }
    let admit = admit::admit(facts, &mut draft);
    draft.shares.sort_unstable_by_key(|share| share.place);
    Plan::Run { admit, shares: draft.shares }
}

/// The least computed of `candidates`; of equals the last in line.
fn victim(candidates: &[Progress]) -> Place {
    let least = candidates.iter().min_by_key(|p| (p.computed, std::cmp::Reverse(p.place)));
    // The caller's own sequence is among the candidates, so there is always one.
    least.map_or(candidates[0].place, |p| p.place)
}

/// A plan in the making.
struct Draft {
    limits: Limits,
    ledger: Ledger,
    /// Tokens left for prompts, after each answer under way has got its one.
    prefill: usize,
    shares: Vec<Share>,
}

impl Draft {
    fn new(facts: &Facts<'_>) -> Self {
        let decodes = facts.running.iter().filter(|p| p.missing() == 1).count();
        let limits = facts.limits;
        // Answers under way are never held up by prompts, and some prompt always gets on.
        let prefill = limits.step_tokens_max.saturating_sub(decodes).max(1);
        Self { limits, ledger: facts.ledger.clone(), prefill, shares: Vec::new() }
    }

    /// Tokens that a sequence gets in this step.
    fn tokens(&self, progress: &Progress) -> usize {
        match progress.missing() {
            1 => 1,
            missing => missing.min(self.prefill),
        }
    }

    fn share(&mut self, progress: &Progress, tokens: usize) {
        if tokens == 0 {
            return;
        }
        let missing = progress.missing();
        if missing > 1 {
            self.prefill -= tokens;
        }
        self.shares.push(Share { place: progress.place, tokens, last: tokens == missing });
    }

    /// Sets aside what running sequences will need after this step, when they hold `blocks`.
    fn promise(&mut self, running: &[Progress], blocks: &[usize]) {
        for (progress, blocks) in running.iter().zip(blocks) {
            let after = Progress { blocks: *blocks, ..*progress };
            let target = match self.limits.reserve {
                Reserve::Longest => progress.longest,
                Reserve::Known => progress.known,
            };
            self.ledger.promise(progress.tenant, after.demand(self.limits.blocks(target)));
        }
    }
}
