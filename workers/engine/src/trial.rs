//! A trial of two configurations on the traffic as it comes: every job goes to one of two engines, by its id, and what
//! they find, how soon they answer and how fast they write is compared.
//!
//! A job is the unit of chance, since its texts share a prefix and are alike: a permutation of whole jobs between the
//! sides says how likely a difference is without a cause (Fisher's permutation test). Invariants: all texts of a job are
//! written by one side, which side depends on nothing but its id, and a trial changes no answer, since both sides
//! compute the same model at the same precision. Made by `open_trial`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::{GaugeVec, Opts, Registry};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::forecast::{ExpectedPrefix, Forecast};
use crate::generate::{Generate, GenerateError, ModelInfo, Pieces};
use crate::job::{Completion, Receipt, Request};
use crate::metrics::TRIAL;
use crate::report::CacheReport;

/// Jobs remembered of each side, the last ones.
const JOBS_MAX: usize = 2000;
/// Jobs among which the job of a text is looked for: more are not under way at once.
const OPEN_MAX: usize = 256;
/// Jobs between two reports.
const REPORT_EVERY: u64 = 50;
/// Permutations drawn; more resolve smaller probabilities.
const PERMUTATIONS: u32 = 2000;
/// A difference counts when chance alone would reach it less often than this.
const CHANCE_MAX: f64 = 0.05;

/// What one job cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct JobCost {
    job: u64,
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
    /// Mean of `b` less mean of `a`.
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

/// Two engines that share the traffic.
pub struct Trial {
    sides: [Arc<dyn Generate>; 2],
    costs: Arc<Mutex<Costs>>,
    gauge: Option<GaugeVec>,
}

#[derive(Default)]
struct Costs {
    sides: [VecDeque<JobCost>; 2],
    jobs: u64,
}

impl Trial {
    /// `a` and `b` must answer alike.
    ///
    /// # Errors
    /// When the metric's name is taken.
    pub fn new(
        a: Arc<dyn Generate>,
        b: Arc<dyn Generate>,
        registry: Option<&Registry>,
    ) -> prometheus::Result<Self> {
        let gauge = registry.map(|registry| {
            let gauge = GaugeVec::new(Opts::new(TRIAL.name, TRIAL.help), &["measure"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        });
        Ok(Self { sides: [a, b], costs: Arc::default(), gauge: gauge.transpose()? })
    }

    /// How it stands; `None` before each side has finished two jobs.
    pub fn report(&self) -> Option<TrialReport> {
        report(&self.costs.lock().sides)
    }

    fn record(&self, side: usize, job: u64, receipt: &Receipt) {
        let mut costs = self.costs.lock();
        if !add(&mut costs.sides[side], job, receipt) {
            return;
        }
        costs.jobs += 1;
        if costs.jobs.is_multiple_of(REPORT_EVERY) {
            let (sides, gauge) = (costs.sides.clone(), self.gauge.clone());
            // Thousands of permutations: not on a thread that answers are waited for on.
            tokio::task::spawn_blocking(move || tell(&sides, gauge.as_ref()));
        }
    }
}

/// Adds a text to its job; `true` when the job is new.
fn add(jobs: &mut VecDeque<JobCost>, job: u64, receipt: &Receipt) -> bool {
    if let Some(cost) = jobs.iter_mut().rev().take(OPEN_MAX).find(|cost| cost.job == job) {
        cost.add(receipt);
        return false;
    }
    if jobs.len() == JOBS_MAX {
        jobs.pop_front();
    }
    let mut cost = JobCost { job, ..JobCost::default() };
    cost.add(receipt);
    jobs.push_back(cost);
    true
}

fn tell(sides: &[VecDeque<JobCost>; 2], gauge: Option<&GaugeVec>) {
    let Some(report) = report(sides) else { return };
    for (measure, value) in measures(&report).iter().filter(|_| gauge.is_some()) {
        let _ = gauge.map(|gauge| gauge.with_label_values(&[*measure]).set(*value));
    }
    match serde_json::to_string(&report) {
        Ok(report) => info!(report, "trial of two configurations of the engine"),
        Err(error) => info!(%error, "the trial's report cannot be written"),
    }
}

fn measures(report: &TrialReport) -> [(&'static str, f64); 11] {
    [
        ("jobs_a", report.a.jobs as f64),
        ("jobs_b", report.b.jobs as f64),
        ("hit_rate_a", report.a.hit_rate),
        ("hit_rate_b", report.b.hit_rate),
        ("hit_rate_chance", report.hits.chance),
        ("text_ms_a", report.a.text_ms),
        ("text_ms_b", report.b.text_ms),
        ("text_ms_chance", report.latency.chance),
        ("tokens_per_second_a", report.a.tokens_per_second),
        ("tokens_per_second_b", report.b.tokens_per_second),
        ("tokens_per_second_chance", report.throughput.chance),
    ]
}

fn report(sides: &[VecDeque<JobCost>; 2]) -> Option<TrialReport> {
    if sides.iter().any(|jobs| jobs.len() < 2) {
        return None;
    }
    let compare = |measure: fn(&JobCost) -> f64, more_is_better: bool| {
        let [a, b] = sides.each_ref().map(|jobs| jobs.iter().map(measure).collect::<Vec<f64>>());
        compared(&a, &b, more_is_better)
    };
    let [a, b] = sides.each_ref().map(side);
    Some(TrialReport {
        a,
        b,
        hits: compare(JobCost::hit_rate, true),
        latency: compare(JobCost::text_ms, false),
        throughput: compare(JobCost::tokens_per_second, true),
    })
}

fn side(jobs: &VecDeque<JobCost>) -> TrialSide {
    let all = |measure: fn(&JobCost) -> f64| jobs.iter().map(measure).collect::<Vec<f64>>();
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

/// Deals all jobs to two sides of the same sizes at random, again and again: without a cause any deal is as likely.
fn compared(a: &[f64], b: &[f64], more_is_better: bool) -> Comparison {
    let mut all = [a, b].concat();
    let total: f64 = all.iter().sum();
    let apart = |sum_a: f64| (total - sum_a) / b.len() as f64 - sum_a / a.len() as f64;
    let difference = apart(a.iter().sum());
    let mut rng = ChaCha8Rng::seed_from_u64(all.len() as u64);
    let mut as_large = 1;
    for _ in 0..PERMUTATIONS {
        for at in 0..a.len() {
            all.swap(at, rng.random_range(at..a.len() + b.len()));
        }
        // A hair of slack: sums in another order differ in the last digit.
        if apart(all[..a.len()].iter().sum()).abs() >= difference.abs() * (1.0 - 1e-9) - 1e-12 {
            as_large += 1;
        }
    }
    let chance = f64::from(as_large) / f64::from(PERMUTATIONS + 1);
    let winner = match chance < CHANCE_MAX {
        false => Winner::Neither,
        true if (difference > 0.0) == more_is_better => Winner::B,
        true => Winner::A,
    };
    Comparison { difference, chance, winner }
}

/// The job that a request belongs to: what its id says before the part.
fn job_of(id: &str) -> u64 {
    let job = id.split('/').next().unwrap_or_default();
    let hash = blake3::hash(job.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| hash.as_bytes()[at]))
}

#[async_trait]
impl Generate for Trial {
    fn info(&self) -> ModelInfo {
        self.sides[0].info()
    }

    fn closed_for(&self) -> Option<Duration> {
        self.sides.iter().filter_map(|side| side.closed_for()).max()
    }

    fn announce(&self, forecast: &Forecast) {
        for side in &self.sides {
            side.announce(forecast);
        }
    }

    async fn warm_up(&self, prefix: &ExpectedPrefix, keep_for: Duration) -> Result<Receipt, GenerateError> {
        let mut receipt = self.sides[0].warm_up(prefix, keep_for).await?;
        receipt.add(&self.sides[1].warm_up(prefix, keep_for).await?);
        Ok(receipt)
    }

    /// Of the configuration; the other side shows in the metrics.
    async fn cache_report(&self) -> Option<CacheReport> {
        self.sides[0].cache_report().await
    }

    async fn generate(
        &self,
        request: Request,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
    ) -> Result<Completion, GenerateError> {
        let job = job_of(&request.id);
        let side = (job & 1) as usize;
        let done = self.sides[side].generate(request, pieces, cancel).await?;
        self.record(side, job, &done.receipt);
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineOptions;
    use crate::testing;

    fn cost(hit: u64, ms: f64) -> JobCost {
        JobCost { job: 0, texts: 2, prompt_tokens: 100, cached_tokens: hit, output_tokens: 50, ms }
    }

    #[test]
    fn a_winner_needs_a_cause() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut noise = |shift: f64| -> Vec<f64> { (0..60).map(|_| rng.random::<f64>() + shift).collect() };
        let (plain, more) = (noise(0.0), noise(0.4));
        let found = compared(&plain, &more, true);
        assert!(found.chance < 0.01 && found.winner == Winner::B, "{found:?}");
        assert_eq!(compared(&plain, &more, false).winner, Winner::A);
        // Of a hundred comparisons without a cause about five fall below five hundredths.
        let below = (0..100).filter(|_| compared(&noise(0.0), &noise(0.0), true).winner != Winner::Neither);
        assert!(below.count() < 15);
        assert_eq!(compared(&[1.0; 5], &[1.0; 7], true).chance, 1.0);
    }

    #[test]
    fn texts_are_counted_by_job_and_the_oldest_jobs_are_forgotten() {
        let mut jobs = VecDeque::new();
        let receipt = Receipt { prompt_tokens: 10, cached_tokens: 5, total_ms: 4.0, ..Receipt::default() };
        assert!(add(&mut jobs, 1, &receipt) && add(&mut jobs, 2, &receipt));
        assert!(!add(&mut jobs, 1, &receipt), "another text of the same job");
        assert_eq!((jobs[0].texts, jobs[0].prompt_tokens, jobs[0].text_ms()), (2, 20, 4.0));
        for job in 3..JOBS_MAX as u64 + 10 {
            add(&mut jobs, job, &receipt);
        }
        assert_eq!((jobs.len(), jobs[0].job), (JOBS_MAX, 10));
        let sides = [VecDeque::from(vec![cost(25, 80.0); 9]), VecDeque::from(vec![cost(50, 40.0); 9])];
        let report = report(&sides).unwrap();
        assert_eq!((report.a.hit_rate, report.b.hit_rate, report.a.text_ms), (0.25, 0.5, 40.0));
        let winners = [report.hits, report.latency, report.throughput].map(|measure| measure.winner);
        assert_eq!(winners, [Winner::B; 3]);
    }

    async fn trial(blocks: [usize; 2], registry: &Registry) -> Trial {
        let engine = |blocks: usize| {
            let options = EngineOptions { threads: 1, block_tokens: 4, ..EngineOptions::default() };
            // Two layers, two heads of eight, keys and values.
            let kv_bytes_max = blocks * 4 * 2 * 2 * 2 * 8 * 4;
            Arc::new(testing::model(&EngineOptions { kv_bytes_max, ..options })) as Arc<dyn Generate>
        };
        let trial = Trial::new(engine(blocks[0]), engine(blocks[1]), Some(registry)).unwrap();
        for job in 0..80 {
            for part in ["summary", "outlook"] {
                let mut request = testing::request(&format!("{} {job} {part}", "data ".repeat(8)));
                request.id = format!("job-{job}/{part}");
                request.messages[0].text =
                    format!("Template {} with some words of its own.", job % 4).repeat(2);
                trial.generate(request, None, CancellationToken::new()).await.unwrap();
            }
        }
        trial
    }

    #[tokio::test]
    async fn a_side_with_room_for_a_cache_wins_by_hits() {
        let registry = Registry::new();
        let trial = trial([80, 1000], &registry).await;
        let report = trial.report().unwrap();
        assert_eq!(report.hits.winner, Winner::B, "{report:?}");
        assert_eq!(report.a.jobs + report.b.jobs, 80, "both texts of a job are on one side");
        assert!(report.a.jobs.abs_diff(report.b.jobs) < 40, "{report:?}");
        tell(&trial.costs.lock().sides, trial.gauge.as_ref());
        let family = registry.gather().into_iter().find(|family| family.name() == TRIAL.name).unwrap();
        let named: Vec<&str> = family.get_metric().iter().map(|m| m.get_label()[0].value()).collect();
        let listed: Vec<&str> = TRIAL.label.unwrap().1.split(", ").collect();
        assert_eq!(named.len(), listed.len());
        assert!(named.iter().all(|name| listed.contains(name)), "{named:?}");
    }

    #[tokio::test]
    async fn equal_sides_are_equal() {
        let report = trial([1000, 1000], &Registry::new()).await.report().unwrap();
        assert_eq!(report.hits.winner, Winner::Neither, "{report:?}");
    }
}
