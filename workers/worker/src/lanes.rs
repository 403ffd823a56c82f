//! Whose turn it is: lanes by weight, partitions of a lane one after another, and others' partitions now and then.
//!
//! Called by `pull`. Times are tokio's, so that tests may move them.

use std::time::Duration;

use bul_job::{Lane, LaneWheel};
use tokio::time::Instant;

use crate::stock::Stock;

/// How long a lane that failed is left alone.
const LANE_PAUSE: Duration = Duration::from_secs(4);
/// How often a worker with free slots looks into others' partitions of a lane. Their owners take what arrives within a
/// millisecond or two, if they have a slot; what is still there at a look has waited for one. Too low: an idle worker snatches
/// from an owner that is about to take it. Too high: a slot is idle that long although there is work.
pub(crate) const HELP_EVERY: Duration = Duration::from_millis(250);

/// Whose turn it is, and which lanes are left alone.
#[derive(Default)]
pub(crate) struct Lanes {
    wheel: LaneWheel,
    until: [Option<Instant>; Lane::ALL.len()],
    help_from: [Option<Instant>; Lane::ALL.len()],
    turns: [usize; Lane::ALL.len()],
    is_filled: bool,
    /// Jobs that came with others and found no slot.
    pub(crate) stock: Stock,
}

impl Lanes {
    pub(crate) fn healthy(&self, lanes: &[Lane]) -> Vec<Lane> {
        let now = Instant::now();
        let is_healthy = |lane: &Lane| self.until[lane.index()].is_none_or(|until| until <= now);
        let healthy: Vec<Lane> = lanes.iter().copied().filter(is_healthy).collect();
        // With none left the broker itself is away; then all of them are asked.
        if healthy.is_empty() { lanes.to_vec() } else { healthy }
    }

    pub(crate) fn leave_alone(&mut self, lane: Lane) {
        self.until[lane.index()] = Some(Instant::now() + LANE_PAUSE);
    }

    /// How many jobs each lane is asked for, by weight.
    pub(crate) fn share(&mut self, open: &[Lane], max: usize) -> Vec<(Lane, usize)> {
        let mut turns = [0; Lane::ALL.len()];
        for _ in 0..max {
            if let Some(lane) = self.wheel.choose(|lane| open.contains(&lane)) {
                turns[lane.index()] += 1;
            }
        }
        let asked = Lane::ALL.into_iter().map(|lane| (lane, turns[lane.index()]));
        asked.filter(|(_, turns)| *turns > 0).collect()
    }

    /// Which of the lane's partitions comes first this time.
    pub(crate) fn turn(&mut self, lane: Lane) -> usize {
        let turn = &mut self.turns[lane.index()];
        *turn = turn.wrapping_add(1);
        *turn
    }

    /// Whether the last fetch brought all that was asked for: there may be more than there are slots.
    pub(crate) fn had_more(&self) -> bool {
        self.is_filled
    }

    pub(crate) fn fetched(&mut self, is_filled: bool) {
        self.is_filled = is_filled;
    }

    /// Whether others' partitions of the lane may be looked into.
    pub(crate) fn may_help(&self, lane: Lane) -> bool {
        self.help_from[lane.index()].is_none_or(|from| from <= Instant::now())
    }

    /// They were. While they give all that is asked for, their owners have more than they can do, and nobody waits.
    pub(crate) fn helped(&mut self, lane: Lane, is_filled: bool) {
        self.help_from[lane.index()] = (!is_filled).then(|| Instant::now() + HELP_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_by_weight_and_a_silent_one_is_left_alone() {
        let mut lanes = Lanes::default();
        let all = Lane::ALL.to_vec();
        let shared = lanes.share(&all, 15);
        assert_eq!(shared, [(Lane::Critical, 8), (Lane::High, 4), (Lane::Normal, 2), (Lane::Low, 1)]);
        lanes.leave_alone(Lane::Low);
        assert_eq!(lanes.healthy(&all), [Lane::Critical, Lane::High, Lane::Normal]);
        Lane::ALL.into_iter().for_each(|lane| lanes.leave_alone(lane));
        assert_eq!(lanes.healthy(&all), all);
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_helped_now_and_then_and_without_a_pause_while_they_have_too_much() {
        let mut lanes = Lanes::default();
        assert!(lanes.may_help(Lane::High));
        lanes.helped(Lane::High, false);
        assert!(!lanes.may_help(Lane::High) && lanes.may_help(Lane::Low));
        tokio::time::advance(HELP_EVERY).await;
        assert!(lanes.may_help(Lane::High));
        lanes.helped(Lane::High, true);
        assert!(lanes.may_help(Lane::High));
    }
}
