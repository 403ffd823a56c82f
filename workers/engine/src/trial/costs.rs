//! What the jobs of a trial cost, and whether the difference is more than chance.
//!
//! Jobs that run side by side wait for each other, so that a crowd on one side makes all of its jobs slow: they are no
//! measurements of their own. The unit of chance is a stretch of traffic. In each the means of both sides are
//! compared, and a permutation of the signs of the differences says how likely their sum is without a cause (Fisher's
//! paired permutation test).

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::job::Receipt;

/// Jobs remembered, the last ones.
const JOBS_MAX: usize = 4000;
/// Jobs of a stretch. Fewer: crowds reach from one into the next. More: a result takes longer; six stretches are the fewest
/// that can show one.
const STRETCH: usize = 20;
/// Jobs among which the job of a text is looked for: more are not under way at once.
const OPEN_MAX: usize = 256;
/// Permutations drawn; more resolve smaller probabilities.
const PERMUTATIONS: u32 = 2000;
/// A difference counts when chance alone would reach it less often than this.
const CHANCE_MAX: f64 = 0.05;

/// What one job cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct JobCost {
    job: u64,
    side: usize,
    texts: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    ms: f64,
}

impl JobCost {
    fn add(&mut self, receipt: &Receipt) {
        self.texts += 1;
        self.prompt_tokens += receipt.prompt_tokens;
        self.cached_tokens += receipt.cached_tokens;
        self.output_tokens += receipt.output_tokens;
        self.ms += receipt.queue_ms + receipt.total_ms;
    }

    fn hit_rate(&self) -> f64 {
        self.cached_tokens as f64 / self.prompt_tokens.max(1) as f64
    }

    fn text_ms(&self) -> f64 {
        self.ms / self.texts.max(1) as f64
    }

    fn tokens_per_second(&self) -> f64 {
        self.output_tokens as f64 * 1000.0 / self.ms.max(1e-3)
    }
}

/// One side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrialSide {
    /// Jobs compared.
    pub jobs: usize,
    /// Part of a job's prompt tokens found in the cache, 0 to 1, mean over jobs.
    pub hit_rate: f64,
    /// Time of a text, its wait included, milliseconds, mean over jobs.
    pub text_ms: f64,
    /// 99th percentile of the same.
    pub text_ms_p99: f64,
    /// Tokens written per second that a text took, mean over jobs.
    pub tokens_per_second: f64,
}

/// One measure on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Mean of `b` less mean of `a`, mean over stretches of traffic.
    pub difference: f64,
    /// How often chance alone gives a difference at least as large, 0 to 1.
    pub chance: f64,
    /// Who is better.
    pub winner: Winner,
}

/// Who is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    /// The configuration.
    A,
    /// The configuration on trial.
    B,
    /// The difference may be chance.
    Neither,
}

/// How a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrialReport {
    /// The configuration.
    pub a: TrialSide,
    /// The configuration on trial.
    pub b: TrialSide,
    /// Part of the prompt tokens found; more is better. It does not depend on the machine's mood.
    pub hits: Comparison,
    /// Milliseconds per text; fewer are better.
    pub latency: Comparison,
    /// Tokens per second; more are better.
    pub throughput: Comparison,
}

/// Adds a text to its job; `true` when the job is new.
pub(super) fn add(jobs: &mut VecDeque<JobCost>, side: usize, job: u64, receipt: &Receipt) -> bool {
    if let Some(cost) = jobs.iter_mut().rev().take(OPEN_MAX).find(|cost| cost.job == job) {
        cost.add(receipt);
        return false;
    }
    if jobs.len() == JOBS_MAX {
        jobs.pop_front();
    }
    let mut cost = JobCost { job, side, ..JobCost::default() };
    cost.add(receipt);
    jobs.push_back(cost);
    true
}

/// How it stands; `None` before there is a stretch with jobs of both sides.
pub(super) fn report(jobs: &[JobCost]) -> Option<TrialReport> {
    let compare = |measure: fn(&JobCost) -> f64, more_is_better: bool| {
        let stretches = jobs.chunks(STRETCH).filter_map(|stretch| apart(stretch, measure));
        compared(&stretches.collect::<Vec<f64>>(), more_is_better)
    };
    Some(TrialReport {
        a: side(jobs, 0),
        b: side(jobs, 1),
        hits: compare(JobCost::hit_rate, true)?,
        latency: compare(JobCost::text_ms, false)?,
        throughput: compare(JobCost::tokens_per_second, true)?,
    })
}

/// Mean of `b` less mean of `a` in a stretch of traffic that has jobs of both.
fn apart(stretch: &[JobCost], measure: fn(&JobCost) -> f64) -> Option<f64> {
    let of = |side: usize| {
        let values: Vec<f64> = stretch.iter().filter(|cost| cost.side == side).map(measure).collect();
        (!values.is_empty()).then(|| mean(&values))
    };
    Some(of(1)? - of(0)?)
}

fn side(jobs: &[JobCost], side: usize) -> TrialSide {
    let jobs: Vec<&JobCost> = jobs.iter().filter(|cost| cost.side == side).collect();
    let all = |measure: fn(&JobCost) -> f64| jobs.iter().map(|cost| measure(cost)).collect::<Vec<f64>>();
    let mut times = all(JobCost::text_ms);
    times.sort_by(f64::total_cmp);
    let last = ((times.len() as f64 * 0.99) as usize).min(times.len().saturating_sub(1));
    TrialSide {
        jobs: jobs.len(),
        hit_rate: mean(&all(JobCost::hit_rate)),
        text_ms: mean(&times),
        text_ms_p99: times.get(last).copied().unwrap_or(0.0),
        tokens_per_second: mean(&all(JobCost::tokens_per_second)),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Flips the signs of differences at random, again and again: without a cause either sign is as likely.
fn compared(differences: &[f64], more_is_better: bool) -> Option<Comparison> {
    if differences.is_empty() {
        return None;
    }
    let sum: f64 = differences.iter().sum();
    let mut rng = ChaCha8Rng::seed_from_u64(differences.len() as u64);
    let mut as_large = 1;
    for _ in 0..PERMUTATIONS {
        let flipped: f64 = differences.iter().map(|d| if rng.random::<bool>() { *d } else { -d }).sum();
        // A hair of slack: sums in another order differ in the last digit.
        if flipped.abs() >= sum.abs() * (1.0 - 1e-9) - 1e-12 {
            as_large += 1;
        }
    }
    let chance = f64::from(as_large) / f64::from(PERMUTATIONS + 1);
    let winner = match chance < CHANCE_MAX {
        false => Winner::Neither,
        true if (sum > 0.0) == more_is_better => Winner::B,
        true => Winner::A,
    };
    Some(Comparison { difference: sum / differences.len() as f64, chance, winner })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(side: usize, hit: u64, ms: f64) -> JobCost {
        JobCost { job: 0, side, texts: 2, prompt_tokens: 100, cached_tokens: hit, output_tokens: 50, ms }
    }

    #[test]
    fn a_winner_needs_a_cause() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut noise =
            |shift: f64| -> Vec<f64> { (0..30).map(|_| rng.random::<f64>() - 0.5 + shift).collect() };
        let more = noise(0.4);
        let found = compared(&more, true).unwrap();
        assert!(found.chance < 0.01 && found.winner == Winner::B, "{found:?}");
        assert_eq!(compared(&more, false).unwrap().winner, Winner::A);
        // Of a hundred comparisons without a cause about five fall below five hundredths.
        let below = (0..100).filter(|_| compared(&noise(0.0), true).unwrap().winner != Winner::Neither);
        assert!(below.count() < 15);
        assert_eq!(compared(&[0.0; 12], true).unwrap().chance, 1.0);
        assert_eq!(compared(&[1.0; 5], true).unwrap().winner, Winner::Neither, "five stretches show nothing");
        assert_eq!(compared(&[], true), None);
    }

    /// A crowd makes all jobs of a side slow for a while, now on one side and now on the other: no measure of
    /// single jobs, of which there are hundreds, may be taken for that many.
    #[test]
    fn crowds_are_not_a_cause() {
        let mut wins = 0;
        for seed in 0..100 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut jobs = Vec::new();
            for _ in 0..12 {
                let crowd = [rng.random::<f64>() * 400.0, rng.random::<f64>() * 400.0];
                for at in 0..STRETCH {
                    jobs.push(cost(at % 2, 50, 100.0 + crowd[at % 2] + rng.random::<f64>()));
                }
            }
            wins += usize::from(report(&jobs).unwrap().latency.winner != Winner::Neither);
        }
        assert!(wins < 15, "{wins} of a hundred");
    }

    #[test]
    fn texts_are_counted_by_job_and_the_oldest_jobs_are_forgotten() {
        let mut jobs = VecDeque::new();
        let receipt = Receipt { prompt_tokens: 10, cached_tokens: 5, total_ms: 4.0, ..Receipt::default() };
        assert!(add(&mut jobs, 0, 1, &receipt) && add(&mut jobs, 1, 2, &receipt));
        assert!(!add(&mut jobs, 0, 1, &receipt), "another text of the same job");
        assert_eq!((jobs[0].texts, jobs[0].prompt_tokens, jobs[0].text_ms()), (2, 20, 4.0));
        for job in 3..JOBS_MAX as u64 + 10 {
            add(&mut jobs, 0, job, &receipt);
        }
        assert_eq!((jobs.len(), jobs[0].job), (JOBS_MAX, 10));
        assert_eq!(report(jobs.make_contiguous()), None, "one side has nothing");
        let jobs: Vec<JobCost> =
            (0..200).map(|at| if at % 2 == 0 { cost(0, 25, 80.0) } else { cost(1, 50, 40.0) }).collect();
        let report = report(&jobs).unwrap();
        assert_eq!((report.a.hit_rate, report.b.hit_rate, report.a.text_ms), (0.25, 0.5, 40.0));
        let winners = [report.hits, report.latency, report.throughput].map(|measure| measure.winner);
        assert_eq!(winners, [Winner::B; 3]);
    }
}
