//! Automatic tuning: a setting is changed only after the change was measured to help, on the traffic at hand.
//!
//! Two settings, neither of which changes an answer. *Eviction*: every policy replays every request on keys alone (`shadow`),
//! so that the gain of another one is counted and not guessed. *Tokens per step*: the present value and a neighbour take turns
//! in short rounds, so that both meet the same mixture of work, and the neighbour has to be faster in nearly all pairs of rounds
//! (a sign test) and by enough in the middle. What did not help is tried again later, each time after a longer wait.

use crate::kv::key::KeyMap;
use crate::kv::policy::Eviction;
use crate::sched::Limits;

/// Tokens of prompts after which policies are compared, at least, and in times of the cache's size.
const WINDOW_TOKENS_MIN: u64 = 20_000;
const WINDOW_CACHES: u64 = 4;
/// A policy must find so many more of a window's prompt tokens, percent, in so many windows in a row.
const GAIN_PERCENT: u64 = 2;
const WINDOWS: u32 = 2;

/// Pairs of rounds of a trial, and how many the neighbour must win: by chance that happens in 13 of 4,096 trials.
const PAIRS: usize = 12;
const WINS: usize = 11;
/// Times faster, in the middle of all pairs.
const FASTER: f64 = 1.03;
/// Steps of prompts in a round.
const ROUND_STEPS: usize = 4;
/// Rounds before the first trial, and between two trials; doubled after each that did not help, up to the longest.
const REST_ROUNDS: u64 = 16;
const REST_ROUNDS_MAX: u64 = 16 << 10;
/// How far from the preset's value tokens per step may go, up and down.
pub(crate) const TIMES: usize = 4;

/// What an engine that tunes itself remembers.
#[derive(Debug)]
pub(super) struct Tuning {
    pub policy: PolicyTuner,
    pub steps: StepTuner,
    /// The last forecast, for a policy that is changed to.
    pub needs: KeyMap<u32>,
}

impl Tuning {
    /// For an engine of so many blocks, whose steps shall not take longer than so many seconds by its doing.
    pub fn new(blocks: usize, limits: Limits, step_s_max: f64) -> Self {
        let least = limits.running_max.max(limits.block_tokens);
        Self {
            policy: PolicyTuner::new(blocks * limits.block_tokens),
            steps: StepTuner::new(limits.step_tokens_max, least, step_s_max),
            needs: KeyMap::default(),
        }
    }
}

/// Chooses the eviction policy.
#[derive(Debug)]
pub(super) struct PolicyTuner {
    window_tokens: u64,
    /// Prompt tokens, and tokens found by each policy, when the window began.
    began: Option<(u64, Vec<u64>)>,
    /// Who won the last windows, and how many.
    ahead: Option<(Eviction, u32)>,
}

impl PolicyTuner {
    /// For a cache of so many tokens.
    pub fn new(cache_tokens: usize) -> Self {
        let window_tokens = (WINDOW_CACHES * cache_tokens as u64).max(WINDOW_TOKENS_MIN);
        Self { window_tokens, began: None, ahead: None }
    }

    /// Prompt tokens so far, and what each policy would have found of them; the policy to change to, if one has proven better
    /// than `now`.
    pub fn look(&mut self, now: Eviction, prompt: u64, found: &[(Eviction, u64)]) -> Option<Eviction> {
        let counts = || found.iter().map(|(_, tokens)| *tokens).collect();
        let (from, before) = self.began.get_or_insert_with(|| (prompt, counts()));
        let seen = prompt - *from;
        if seen < self.window_tokens {
            return None;
        }
        let gains: Vec<(Eviction, u64)> = found
            .iter()
            .zip(before.iter())
            .map(|((policy, tokens), before)| (*policy, tokens - before))
            .collect();
        self.began = Some((prompt, counts()));
        // Whoever asks for an end by time does not want it for speed, nor is to lose it for that.
        if matches!(now, Eviction::Ttl(_)) {
            return None;
        }
        let own = gains.iter().find(|(policy, _)| policy.name() == now.name())?.1;
        let others = gains.into_iter().filter(|(policy, _)| !matches!(policy, Eviction::Ttl(_)));
        let (best, most) = others.max_by_key(|(_, tokens)| *tokens)?;
        if most * 100 < own * 100 + seen * GAIN_PERCENT {
            self.ahead = None;
            return None;
        }
        let windows = self.ahead.filter(|(policy, _)| *policy == best).map_or(0, |(_, windows)| windows) + 1;
        self.ahead = (windows < WINDOWS).then_some((best, windows));
        (windows >= WINDOWS).then_some(best)
    }
}

/// A comparison under way.
#[derive(Debug)]
struct Trial {
    other: usize,
    /// Seconds per token of each round so far: own, other, other, own, own, …
    rounds: Vec<f64>,
}

impl Trial {
    /// Whether the round under way is the neighbour's. The order within pairs alternates, so that a load that grows or falls
    /// strikes both.
    fn is_others_turn(&self) -> bool {
        matches!(self.rounds.len() % 4, 1 | 2)
    }

    /// Whether the neighbour was faster, once all pairs are there.
    fn verdict(&self) -> Option<bool> {
        if self.rounds.len() < 2 * PAIRS {
            return None;
        }
        let mut times: Vec<f64> =
            (self.rounds.chunks_exact(4)).flat_map(|four| [four[0] / four[1], four[3] / four[2]]).collect();
        times.sort_by(f64::total_cmp);
        let wins = times.iter().filter(|faster| **faster > 1.0).count();
        Some(wins >= WINS && times[PAIRS / 2] >= FASTER)
    }
}

/// Chooses how many tokens a step may have.
#[derive(Debug)]
pub(super) struct StepTuner {
    now: usize,
    /// The preset's value.
    began: usize,
    least: usize,
    most: usize,
    /// Longest step that a change may bring about, seconds: others wait that long for their next token.
    step_s_max: f64,
    trial: Option<Trial>,
    /// Steps, tokens and seconds of the round under way.
    round: (usize, usize, f64),
    rest: u64,
    /// Rounds between trials now.
    pause: u64,
    /// Which way the next trial goes.
    is_up: bool,
}

impl StepTuner {
    /// Begins at the preset's value.
    pub fn new(tokens: usize, least: usize, step_s_max: f64) -> Self {
        Self {
            now: tokens,
            began: tokens,
            least: (tokens / TIMES).max(least),
            most: tokens * TIMES,
            step_s_max,
            trial: None,
            round: (0, 0, 0.0),
            rest: REST_ROUNDS,
            pause: REST_ROUNDS,
            is_up: true,
        }
    }

    /// Tokens that the next step may have.
    pub fn tokens(&self) -> usize {
        match &self.trial {
            Some(trial) if trial.is_others_turn() => trial.other,
            _ => self.now,
        }
    }

    /// The value outside of trials.
    pub fn settled(&self) -> usize {
        self.now
    }

    /// A step with prompts in it has computed `tokens`. True when the settled value has changed.
    pub fn computed(&mut self, tokens: usize, seconds: f64) -> bool {
        let is_others = self.trial.as_ref().is_some_and(Trial::is_others_turn);
        if is_others && seconds > self.step_s_max {
            self.end_trial(false);
            return false;
        }
        self.round = (self.round.0 + 1, self.round.1 + tokens, self.round.2 + seconds);
        if self.round.0 < ROUND_STEPS {
            return false;
        }
        let (steps, tokens, seconds) = std::mem::replace(&mut self.round, (0, 0, 0.0));
        if !is_others && self.now > self.began && seconds > self.step_s_max * steps as f64 {
            // What was short enough when it was chosen is not with the traffic of now.
            self.now = (self.now / 2).max(self.began);
            self.trial = None;
            self.rest = self.pause;
            return true;
        }
        let Some(trial) = &mut self.trial else {
            self.rest = self.rest.saturating_sub(1);
            if self.rest == 0 {
                self.begin_trial();
            }
            return false;
        };
        trial.rounds.push(seconds / tokens.max(1) as f64);
        let verdict = trial.verdict();
        verdict.is_some_and(|is_faster| self.end_trial(is_faster))
    }

    /// A step has failed, whatever the reason: nothing of its length or beyond is tried again.
    pub fn failed(&mut self) {
        if let Some(trial) = self.trial.as_ref().filter(|trial| trial.is_others_turn()) {
            self.most = self.most.min(trial.other.max(self.now + 1) - 1);
        }
        self.end_trial(false);
    }

    fn begin_trial(&mut self) {
        let other = if self.is_up { self.now * 2 } else { self.now / 2 };
        if (self.least..=self.most).contains(&other) {
            self.trial = Some(Trial { other, rounds: Vec::new() });
        } else {
            self.end_trial(false);
        }
    }

    fn end_trial(&mut self, is_faster: bool) -> bool {
        let other = self.trial.take().map(|trial| trial.other);
        self.round = (0, 0, 0.0);
        if let Some(other) = other.filter(|_| is_faster) {
            // The same way again, and soon.
            (self.now, self.pause) = (other, REST_ROUNDS);
        } else {
            self.is_up = !self.is_up;
            self.pause = (self.pause * 2).min(REST_ROUNDS_MAX);
        }
        self.rest = self.pause;
        is_faster
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Lets a tuner run on a machine where a step of `tokens` takes `seconds(tokens)`, give or take `noise`, while its load
    /// drifts.
    fn run(
        tuner: &mut StepTuner,
        seed: u64,
        steps: usize,
        noise: f64,
        seconds: impl Fn(usize) -> f64,
    ) -> usize {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut changes = 0;
        for step in 0..steps {
            let drift = 1.0 + 0.3 * (step as f64 / 500.0).sin();
            let tokens = tuner.tokens();
            let taken = seconds(tokens) * drift * rng.random_range(1.0 - noise..1.0 + noise);
            changes += usize::from(tuner.computed(tokens, taken));
        }
        changes
    }

    /// A fixed cost of each step, as reading all weights is.
    fn with_overhead(tokens: usize) -> f64 {
        0.010 + tokens as f64 * 0.0001
    }

    #[test]
    fn longer_steps_are_taken_where_they_help_and_within_limits() {
        for seed in 0..20 {
            let mut tuner = StepTuner::new(64, 16, 1.0);
            run(&mut tuner, seed, 20_000, 0.05, with_overhead);
            assert_eq!(tuner.settled(), 256, "seed {seed}");
            let mut short = StepTuner::new(64, 16, 0.025);
            run(&mut short, seed, 20_000, 0.05, with_overhead);
            // 128 tokens take 23 ms, with the drift more than what is allowed most of the time; 256 take 36.
            assert!(short.settled() <= 128, "seed {seed}: {}", short.settled());
        }
    }

    #[test]
    fn shorter_steps_are_taken_where_long_ones_leave_the_cache() {
        for seed in 0..20 {
            let slow_when_long = |tokens: usize| tokens as f64 * if tokens > 64 { 0.0002 } else { 0.0001 };
            let mut tuner = StepTuner::new(128, 16, 1.0);
            run(&mut tuner, seed, 20_000, 0.05, slow_when_long);
            assert_eq!(tuner.settled(), 64, "seed {seed}");
        }
    }

    #[test]
    fn where_nothing_helps_hardly_anything_changes_and_trials_get_rare() {
        let (mut changes, mut others) = (0, 0);
        for seed in 0..50 {
            let mut tuner = StepTuner::new(128, 16, 1.0);
            changes += run(&mut tuner, seed, 20_000, 0.3, |tokens| tokens as f64 * 0.0001);
            others += usize::from(tuner.pause < 16 * REST_ROUNDS);
        }
        // About 400 trials, of which one or two are won by chance.
        assert!(changes <= 5, "{changes} changes");
        assert!(others <= 5, "{others} that still try often");
    }

    #[test]
    fn a_length_that_fails_is_not_tried_again_and_one_that_has_become_too_long_is_left() {
        let mut tuner = StepTuner::new(64, 16, 1.0);
        let mut failures = 0;
        for _ in 0..20_000 {
            if tuner.tokens() > 64 {
                failures += 1;
                tuner.failed();
            } else {
                tuner.computed(tuner.tokens(), with_overhead(tuner.tokens()));
            }
        }
        assert_eq!((failures, tuner.settled()), (1, 64));
        let mut tuner = StepTuner::new(64, 16, 0.1);
        run(&mut tuner, 1, 20_000, 0.05, with_overhead);
        assert_eq!(tuner.settled(), 256);
        // Longer contexts: ten times as long for each token.
        run(&mut tuner, 1, 200, 0.05, |tokens| 10.0 * with_overhead(tokens));
        assert_eq!(tuner.settled(), 64);
    }

    #[test]
    fn an_end_by_time_is_neither_left_nor_chosen_for_speed() {
        for (now, better) in [(Eviction::Ttl(1), Eviction::Lru), (Eviction::Lru, Eviction::Ttl(1))] {
            let mut tuner = PolicyTuner::new(1_000);
            for window in 0..10 {
                let found = [(now, 0), (better, window * 20_000)];
                assert_eq!(tuner.look(now, window * 20_000, &found), None);
            }
        }
    }

    #[test]
    fn a_policy_is_changed_after_it_was_better_twice_in_a_row() {
        let mut tuner = PolicyTuner::new(1_000);
        let look = |tuner: &mut PolicyTuner, now, window: u64, lru: u64, lfu: u64| {
            tuner.look(now, window * 20_000, &[(Eviction::Lru, lru), (Eviction::Lfu, lfu)])
        };
        assert_eq!(look(&mut tuner, Eviction::Lru, 0, 0, 0), None);
        // One percent of the prompt tokens is no gain.
        assert_eq!(look(&mut tuner, Eviction::Lru, 1, 10_000, 10_200), None);
        assert_eq!(look(&mut tuner, Eviction::Lru, 2, 20_000, 20_700), None);
        assert_eq!(look(&mut tuner, Eviction::Lru, 3, 30_000, 30_700), None, "once is not twice in a row");
        assert_eq!(look(&mut tuner, Eviction::Lru, 4, 40_000, 41_200), None);
        assert_eq!(look(&mut tuner, Eviction::Lru, 5, 50_000, 51_700), Some(Eviction::Lfu));
        // In force now, and back again when the traffic turns.
        assert_eq!(look(&mut tuner, Eviction::Lfu, 6, 60_000, 62_200), None);
        assert_eq!(look(&mut tuner, Eviction::Lfu, 7, 72_000, 72_200), None);
        assert_eq!(look(&mut tuner, Eviction::Lfu, 8, 84_000, 82_200), Some(Eviction::Lru));
    }

    #[test]
    fn nothing_is_decided_before_a_window_is_over() {
        let mut tuner = PolicyTuner::new(100_000);
        for prompt in (0..400_000).step_by(10_000) {
            assert_eq!(
                tuner.look(Eviction::Lru, prompt, &[(Eviction::Lru, 0), (Eviction::Lfu, prompt)]),
                None
            );
        }
    }
}
