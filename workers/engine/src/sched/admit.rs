//! Which waiting requests start, and for which a place is made.

use std::collections::HashSet;

use super::{Draft, Facts, Place, Progress, Reserve, Waiting, victim};
use crate::kv::key::BlockKey;
use crate::kv::quota::{Demand, Short};

/// Blocks that a request must find, and those of the cache that it makes busy.
fn wanted(facts: &Facts<'_>, waiting: &Waiting<'_>) -> Demand {
    let target = match facts.limits.reserve {
        Reserve::Longest => waiting.progress.longest,
        // One more, or the first token drawn could already cost somebody its place.
        Reserve::Known => (waiting.progress.known + facts.limits.block_tokens).min(waiting.progress.longest),
    };
    let (idle_public, idle_own) = waiting.idle;
    Demand { idle_public, idle_own, ..waiting.progress.demand(facts.limits.blocks(target)) }
}

/// Starts waiting requests in order. One that waits for another's prefix, or for its own tenant's
/// blocks, lets later ones pass; one that lacks memory does not, or it might wait for ever.
pub(super) fn admit(facts: &Facts<'_>, draft: &mut Draft) -> Vec<Place> {
    let mut admitted = Vec::new();
    let mut under_way: HashSet<BlockKey> = HashSet::new();
    for waiting in facts.waiting {
        if facts.running.len() + admitted.len() >= facts.limits.running_max || draft.prefill == 0 {
            break;
        }
        let found = waiting.progress.blocks;
        let next = waiting.keys.get(found);
        if waiting.prefix_under_way || next.is_some_and(|key| under_way.contains(key)) {
            continue;
        }
        match draft.ledger.take(waiting.progress.tenant, wanted(facts, waiting)) {
            Ok(()) => {}
            Err(Short::Cap) => continue,
            Err(Short::Blocks) => break,
        }
        under_way.extend(waiting.keys.get(found..).unwrap_or_default());
        admitted.push(waiting.progress.place);
        let tokens = waiting.progress.missing().min(draft.prefill);
        draft.prefill -= tokens;
        draft.shares.push(super::Share {
            place: waiting.progress.place,
            tokens,
            last: tokens == waiting.progress.missing(),
        });
    }
    admitted
}

/// The running sequence that gives way to the first in line: one of a worse lane and a later
/// place, so that the two cannot push each other out in turn.
pub(super) fn make_room(facts: &Facts<'_>, draft: &Draft) -> Option<Place> {
    let first = facts.waiting.iter().find(|w| !w.prefix_under_way)?;
    let full = facts.running.len() >= facts.limits.running_max;
    let wanted = wanted(facts, first);
    let short = draft.ledger.check(first.progress.tenant, wanted) == Err(Short::Blocks);
    if draft.prefill == 0 || (!full && !short) {
        return None;
    }
    let below: Vec<Progress> = facts
        .running
        .iter()
        .filter(|p| p.lane > first.progress.lane && p.place > first.progress.place)
        .copied()
        .collect();
    // Not for nothing: together they must hold about what is wanted.
    let enough = !short || below.iter().map(|p| p.blocks).sum::<usize>() >= wanted.new_blocks();
    (enough && !below.is_empty()).then(|| victim(&below))
}
