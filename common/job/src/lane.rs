//! Priority lanes and the fair choice between them.

use serde::{Deserialize, Serialize};

/// A priority lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Before everything else: 8 of 15 turns.
    Critical,
    /// 4 of 15 turns.
    High,
    /// The default: 2 of 15 turns.
    #[default]
    Normal,
    /// 1 of 15 turns.
    Low,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Lane; 4] = [Lane::Critical, Lane::High, Lane::Normal, Lane::Low];

    /// Share of turns while every lane has work.
    pub fn weight(self) -> u32 {
        match self {
            Self::Critical => 8,
            Self::High => 4,
            Self::Normal => 2,
            Self::Low => 1,
        }
    }

    /// Position in [`Lane::ALL`]; also the numeric priority of the contract, 0 the most urgent.
    pub fn index(self) -> usize {
        match self {
            Self::Critical => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }

    /// The lane of a numeric priority.
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// Name as used in subjects, queues and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Parses a name in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str().eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Smooth weighted round robin (as in nginx's upstream balancer): turns are spread evenly, and a
/// lane with work gets a turn at least every 15, whatever the others hold.
#[derive(Debug, Clone, Default)]
pub struct LaneWheel {
    current: [i64; 4],
}

impl LaneWheel {
    /// Chooses among the lanes for which `ready` holds; `None` when there is none.
    pub fn choose(&mut self, ready: impl Fn(Lane) -> bool) -> Option<Lane> {
        let mut total = 0;
        let mut best: Option<Lane> = None;
        for lane in Lane::ALL.into_iter().filter(|&lane| ready(lane)) {
            let weight = i64::from(lane.weight());
            total += weight;
            self.current[lane.index()] += weight;
            if best.is_none_or(|b| self.current[lane.index()] > self.current[b.index()]) {
                best = Some(lane);
            }
        }
        if let Some(lane) = best {
            self.current[lane.index()] -= total;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_exact_over_a_cycle() {
        let mut wheel = LaneWheel::default();
        let mut turns = [0; 4];
        for _ in 0..15 * 10 {
            turns[wheel.choose(|_| true).unwrap().index()] += 1;
        }
        assert_eq!(turns, [80, 40, 20, 10]);
    }

    #[test]
    fn nothing_ready_gives_no_turn() {
        assert_eq!(LaneWheel::default().choose(|_| false), None);
    }

    proptest! {
        /// Starvation: whatever the other lanes do, a lane that is always ready waits at most a bounded
        /// number of turns. The bound is twice the sum of weights because the set of ready lanes may change.
        #[test]
        fn no_lane_starves(pattern in prop::collection::vec(0u8..16, 200), lane in 0usize..4) {
            let mut wheel = LaneWheel::default();
            let mut since = 0;
            for bits in pattern {
                let chosen = wheel.choose(|l| l.index() == lane || bits & (1 << l.index()) != 0);
                if chosen == Lane::from_index(lane) { since = 0 } else { since += 1 }
                prop_assert!(since <= 30, "lane {lane} waited {since} turns");
            }
        }
    }
}
