//! Whose turn it is to probe, once the opening of a shared breaker is over: pure, the clock is an argument.
//!
//! Without it each process would send a probe of its own to a server that may still be down. The claim lies in Redis and
//! ends by itself; what it says is believed for a bounded time only, so a Redis that goes away holds nobody back for long.
//! Called by `logic`.

/// How long a claim lasts, milliseconds. Too low: it ends between two looks of a busy process, and another probes beside
/// it. Too high: a process that died with it, or has no job to try, keeps the others from trying.
pub(crate) const CLAIM_MS: u64 = 2_000;
/// Time before the end of an opening at which processes begin to claim, milliseconds: two looks.
pub(crate) const EARLY_MS: u64 = 500;
/// How long an opening is prolonged while no answer about a claim has come, milliseconds: what Redis costs when it is down.
pub(crate) const GRACE_MS: u64 = 500;
/// How long whoever let a claim end unused leaves it to others, milliseconds: two of their looks.
pub(crate) const REST_MS: u64 = 500;

/// Times are milliseconds of the local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nobody is asked: a breaker of one process, or another has got through already.
    Free,
    /// The claim is this process's.
    Mine { until_ms: u64 },
    /// It is another's, or nobody has said yet.
    Wait { until_ms: u64 },
}

impl Turn {
    /// How long no probe may be made; `None` when one may.
    pub(crate) fn blocked_for(self, now_ms: u64) -> Option<u64> {
        let until_ms = match self {
            Self::Free => return None,
            Self::Mine { until_ms } if now_ms < until_ms => return None,
            Self::Mine { until_ms } => until_ms.saturating_add(REST_MS),
            Self::Wait { until_ms } => until_ms,
        };
        Some(until_ms.saturating_sub(now_ms)).filter(|left| *left > 0)
    }

    /// Whether to ask Redis for the claim, or for more time while a probe is under way.
    pub(crate) fn asks(self, is_probing: bool, now_ms: u64) -> bool {
        match self {
            Self::Free => false,
            Self::Mine { until_ms } if now_ms < until_ms => is_probing,
            // Whoever rests does not ask; a probe that outlasted its claim does.
            Self::Mine { .. } => is_probing || self.blocked_for(now_ms).is_none(),
            Self::Wait { .. } => true,
        }
    }

    /// What an answer of Redis makes of it: whose the claim is and for how long yet. `asked_ms` is from before the call.
    pub(crate) fn answered(mine: bool, left_ms: u64, asked_ms: u64) -> Self {
        let until_ms = asked_ms.saturating_add(left_ms.min(CLAIM_MS));
        if mine { Self::Mine { until_ms } } else { Self::Wait { until_ms } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_lets_one_probe_and_ends_by_itself() {
        let mine = Turn::answered(true, u64::MAX, 1_000);
        assert_eq!(mine.blocked_for(1_000 + CLAIM_MS - 1), None);
        // Unused, it is left to others for a moment, then anybody's again.
        assert_eq!(mine.blocked_for(1_000 + CLAIM_MS), Some(REST_MS));
        assert!(!mine.asks(false, 1_000 + CLAIM_MS) && mine.asks(false, 1_000 + CLAIM_MS + REST_MS));
        assert_eq!(mine.blocked_for(1_000 + CLAIM_MS + REST_MS), None);
        let other = Turn::answered(false, 300, 1_000);
        assert_eq!((other.blocked_for(1_000), other.blocked_for(1_300)), (Some(300), None));
    }

    #[test]
    fn a_probe_under_way_prolongs_its_claim() {
        let mine = Turn::answered(true, 300, 1_000);
        assert!(mine.asks(true, 1_100) && !mine.asks(false, 1_100));
        assert!(mine.asks(true, 1_400), "late, but nobody else has it yet");
    }
}
