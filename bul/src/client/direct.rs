//! Operations on store and broker without a server: jobs and their documents.
//!
//! Invariant: a job accepted here is found by the process that runs jobs. Without a broker outside of
//! this process nothing is confirmed to the store, so that the server's dispatcher takes the job from
//! there within seconds.

use std::sync::Arc;
use std::time::Duration;

use bul_broker::Broker;
use bul_job::{Event, EventKind, FieldError, Format, JobId, RawJob, State, TenantId};
use bul_producer::http::explanation;
use bul_producer::submit::{Intake, Outcome, SubmitError, SubmitMode};
use bul_producer::templates::Templates;
use bul_store::{JobFilter, JobStatus, JobSummary, Place, Store};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::store_fault;
use super::types::{JobView, Receipt, SubmitFailure};
use crate::accept::Accepting;
use crate::context::Context;
use crate::exit::Fault;
use crate::wire;

/// How often a watched job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Who acts, in the audit.
pub(super) const ACTOR: &str = "cli";

/// Store and broker.
pub struct DirectClient {
    pub(super) store: Arc<dyn Store>,
    pub(super) tenant: TenantId,
    pub(super) templates: Arc<dyn Templates>,
    broker: Arc<dyn Broker>,
}

impl DirectClient {
    /// Opens what the configuration names.
    pub async fn open(context: &Context) -> anyhow::Result<Self> {
        let wire::Direct { store, broker, catalog, tenant, .. } = wire::open_direct(context).await?;
        Ok(Self { store, tenant, templates: Accepting::new(catalog), broker })
    }

    /// Gives files and connections back.
    pub async fn close(&self) {
        self.broker.close().await;
        self.store.close().await;
    }

    pub async fn submit(&self, jobs: &[RawJob]) -> Result<Vec<Receipt>, SubmitFailure> {
        self.accept(jobs, ACTOR).await
    }

    pub(super) async fn accept(&self, jobs: &[RawJob], source: &str) -> Result<Vec<Receipt>, SubmitFailure> {
        let (store, broker, templates) = (self.store.clone(), self.broker.clone(), self.templates.clone());
        let intake = Intake::new(store, broker, templates);
        let placed_jobs = jobs.iter().cloned().enumerate().map(|(n, job)| (job, format!("/{n}"))).collect();
        let answers = intake.submit(&self.tenant, placed_jobs, source, SubmitMode::AllOrNothing).await;
        let answers = answers.map_err(|error| match error {
            SubmitError::Invalid(bad) => SubmitFailure::Fields(
                bad.into_iter()
                    .flat_map(|job| {
                        placed(job.place.trim_start_matches('/').parse().unwrap_or(0), job.errors)
                    })
                    .collect(),
            ),
            SubmitError::Store(error) => SubmitFailure::Other(store_fault(error)),
            error @ (SubmitError::Empty | SubmitError::TooMany { .. }) => {
                Fault::usage(error.to_string()).into()
            }
            error @ SubmitError::Internal(_) => Fault::failed(error.to_string()).into(),
        })?;
        let receipt = |outcome| match outcome {
            Outcome::New { id, state } => Ok(Receipt::Accepted { id, state, existing: false }),
            Outcome::Existing { id, state } => Ok(Receipt::Accepted { id, state, existing: true }),
            Outcome::Conflict { id } => Ok(Receipt::Conflict { id }),
            Outcome::Invalid { errors } => Err(SubmitFailure::Fields(errors)),
        };
        answers.into_iter().map(|answer| receipt(answer.outcome)).collect()
    }

    pub async fn jobs(&self, filter: &JobFilter) -> anyhow::Result<Vec<JobSummary>> {
        self.store.jobs(&self.tenant, filter).await.map_err(store_fault)
    }

    pub async fn job(&self, id: JobId) -> anyhow::Result<JobView> {
        let detail = self.store.job(&self.tenant, id).await.map_err(store_fault)?;
        let stands = matches!(detail.summary.status.state, State::Queued | State::Waiting);
        let (place, breakers) = match stands {
            true => {
                let place = self.store.place(id).await.map_err(store_fault)?;
                (place, self.store.open_breakers().await.map_err(store_fault)?)
            }
            false => (Place::default(), Vec::new()),
        };
        let explanation = explanation(&detail, &place, &breakers, self.store.now());
        Ok(JobView { detail, explanation })
    }

    pub async fn cancel(&self, id: JobId) -> anyhow::Result<JobStatus> {
        self.store.cancel(&self.tenant, id).await.map_err(store_fault)
    }

    pub async fn document(&self, id: JobId, format: Format) -> anyhow::Result<Vec<u8>> {
        self.store.document(&self.tenant, id, format).await.map_err(store_fault)
    }

    /// Changes of state, seen by looking: tokens and progress live in the worker's process.
    pub async fn events(&self, id: JobId) -> anyhow::Result<BoxStream<'static, anyhow::Result<Event>>> {
        let (store, tenant) = (self.store.clone(), self.tenant.clone());
        let looks = futures::stream::unfold(None, move |last: Option<(State, u32)>| {
            let (store, tenant) = (store.clone(), tenant.clone());
            async move {
                if last.is_some_and(|(state, _)| state.is_final()) {
                    return None;
                }
                loop {
                    let detail = match store.job(&tenant, id).await {
                        Ok(detail) => detail,
                        Err(error) => return Some((Err(store_fault(error)), Some((State::Dead, 0)))),
                    };
                    let status = detail.summary.status;
                    let now = (status.state, status.attempt.0);
                    if last != Some(now) {
                        let kind = EventKind::State {
                            state: status.state,
                            attempt: status.attempt.0,
                            message: status.message,
                        };
                        return Some((Ok(Event { tenant, job: id, at: store.now(), kind }), Some(now)));
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        });
        Ok(looks.boxed())
    }
}

/// Pointers from the list of jobs.
fn placed(index: usize, errors: Vec<FieldError>) -> impl Iterator<Item = FieldError> {
    errors.into_iter().map(move |e| FieldError::new(format!("/{index}{}", e.pointer), e.message))
}
