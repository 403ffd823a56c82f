//! A trial of two configurations on the traffic as it comes: every job goes to one of two engines, by its id, and what
//! they find, how soon they answer and how fast they write is compared.
//!
//! Invariants: all texts of a job are written by one side, which side depends on nothing but its
//! id, and a trial changes no answer, since both sides compute the same model at the same precision. Made by `open_trial`.

mod costs;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::{GaugeVec, Opts, Registry};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::forecast::{ExpectedPrefix, Forecast};
use crate::generate::{Generate, GenerateError, ModelInfo, Pieces};
use crate::job::{Completion, Receipt, Request};
use crate::metrics::TRIAL;
use crate::report::CacheReport;

pub use costs::{Comparison, TrialReport, TrialSide, Winner};
use costs::{JobCost, add, report};

/// Jobs between two reports.
const REPORT_EVERY: u64 = 50;

/// Two engines that share the traffic.
pub struct Trial {
    sides: [Arc<dyn Generate>; 2],
    costs: Mutex<Costs>,
    gauge: Option<GaugeVec>,
}

#[derive(Default)]
struct Costs {
    /// In the order of their first texts.
    jobs: VecDeque<JobCost>,
    seen: u64,
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
        Ok(Self { sides: [a, b], costs: Mutex::default(), gauge: gauge.transpose()? })
    }

    /// How it stands; `None` before each side has finished a job in one stretch of traffic.
    pub fn report(&self) -> Option<TrialReport> {
        report(self.costs.lock().jobs.make_contiguous())
    }

    fn record(&self, side: usize, job: u64, receipt: &Receipt) {
        let mut costs = self.costs.lock();
        if !add(&mut costs.jobs, side, job, receipt) {
            return;
        }
        costs.seen += 1;
        if costs.seen.is_multiple_of(REPORT_EVERY) {
            let (jobs, gauge) = (Vec::from(costs.jobs.clone()), self.gauge.clone());
            // Thousands of permutations: not on a thread that answers are waited for on.
            tokio::task::spawn_blocking(move || tell(&jobs, gauge.as_ref()));
        }
    }
}

fn tell(jobs: &[JobCost], gauge: Option<&GaugeVec>) {
    let Some(report) = report(jobs) else { return };
    if let Some(gauge) = gauge {
        for (measure, value) in measures(&report) {
            gauge.with_label_values(&[measure]).set(value);
        }
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

    fn heeds_forecasts(&self) -> bool {
        self.sides.iter().any(|side| side.heeds_forecasts())
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

    async fn trial(blocks: [usize; 2], registry: &Registry) -> Trial {
        let engine = |blocks: usize| {
            let options = EngineOptions { threads: 1, block_tokens: 4, ..EngineOptions::default() };
            // Two layers, two heads of eight, keys and values.
            let kv_bytes_max = blocks * 4 * 2 * 2 * 2 * 8 * 4;
            Arc::new(testing::model(&EngineOptions { kv_bytes_max, ..options })) as Arc<dyn Generate>
        };
        let trial = Trial::new(engine(blocks[0]), engine(blocks[1]), Some(registry)).unwrap();
        for job in 0..240 {
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
        assert_eq!(report.a.jobs + report.b.jobs, 240, "both texts of a job are on one side");
        assert!(report.a.jobs.abs_diff(report.b.jobs) < 80, "{report:?}");
        tell(trial.costs.lock().jobs.make_contiguous(), trial.gauge.as_ref());
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
