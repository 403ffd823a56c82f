//! What the queue will ask of the model: jobs that wait, by what their prompts begin with, long before a worker pulls them.
//!
//! One for all workers of a process, beside them: no attempt waits for it, and where the model makes no use of forecasts the store
//! is not asked. Invariant: what it says is advice. A kind of jobs that is not understood is left out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bul_job::{Group, ValidJob};
use bul_store::{BacklogFilter, Store, StoreError, Waiting};
use bul_template::{Catalog, Plan};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::affinity::Affinity;
use crate::ahead::Ahead;
use crate::attempt::order_of;

/// Time between two looks. Too short: load on the store for nothing. Too long: the first jobs of a template find nothing ready.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Kinds that are remembered; when there are more, all are learned anew.
const KINDS_MAX: usize = 4096;
/// Kinds that are learned in one look, those of most jobs first: each costs the store a job and the processor a plan.
const LEARNED_MAX: usize = 32;
/// Jobs of partitions that other processes serve first come here once these are done with theirs, if at all: they count by this
/// part.
const OTHERS_PART: u64 = 16;

/// Jobs whose prompts begin alike. The group tells document types apart, which the store's rows do not hold.
type Kind = (String, String, Group);

/// What each job of a kind asks: requests that begin with this system message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asks {
    system: String,
    requests: u32,
}

/// See the module's text.
pub struct Backlog {
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
    ahead: Arc<Ahead>,
    affinity: Arc<Affinity>,
    filter: BacklogFilter,
    /// What a kind asks; nothing where the model is not asked at all, or nobody here can tell.
    kinds: HashMap<Kind, Option<Asks>>,
}

impl Backlog {
    /// Of the lanes that the filter names, for the forecast of one model.
    pub fn new(
        store: Arc<dyn Store>,
        catalog: Arc<Catalog>,
        ahead: Arc<Ahead>,
        affinity: Arc<Affinity>,
        filter: BacklogFilter,
    ) -> Self {
        Self { store, catalog, ahead, affinity, filter, kinds: HashMap::new() }
    }

    /// Looks every few seconds until `stopping`; not once for a model that makes no use of it.
    pub fn follow(mut self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            if !self.ahead.is_heeded() {
                return;
            }
            loop {
                let look = stopping.run_until_cancelled(self.look()).await;
                match look {
                    Some(Ok(())) => {}
                    // What was said last holds until the store answers again.
                    Some(Err(error)) => debug!(%error, "what waits is not known now"),
                    None => return,
                }
                if stopping.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                    return;
                }
            }
        }
        .boxed()
    }

    /// Looks once and tells the model.
    ///
    /// # Errors
    /// Those of [`Store::backlog`].
    pub async fn look(&mut self) -> Result<(), StoreError> {
        let waiting = self.store.backlog(&self.filter).await?;
        self.learn(&waiting).await;
        let is_own = |group| self.affinity.is_own(group);
        self.ahead.expect_backlog(add_up(&waiting, &self.kinds, is_own));
        Ok(())
    }

    /// Makes a plan of the first job of each kind that is new: what it asks, its kind asks.
    async fn learn(&mut self, waiting: &[Waiting]) {
        if self.kinds.len() > KINDS_MAX {
            self.kinds.clear();
        }
        let is_new = |waiting: &&Waiting| !self.kinds.contains_key(&kind(waiting));
        let new: Vec<Waiting> = waiting.iter().filter(is_new).take(LEARNED_MAX).cloned().collect();
        for waiting in new {
            // Gone since, or the store does not answer: the next look meets another one.
            let Ok(detail) = self.store.job(&waiting.tenant, waiting.first).await else { continue };
            let accepted_at = detail.summary.accepted_at;
            let asks = match detail.job {
                Some(job) => {
                    let catalog = self.catalog.clone();
                    // A report may hold 100,000 rows.
                    let plan = move || asks(&job, &catalog, accepted_at.date_naive());
                    tokio::task::spawn_blocking(plan).await.unwrap_or_default()
                }
                None => None,
            };
            self.kinds.insert(kind(&waiting), asks);
        }
    }
}

fn kind(waiting: &Waiting) -> Kind {
    (waiting.template.clone(), waiting.business_area.clone(), waiting.group)
}

/// What a job asks; a plan that fails is its attempt's business.
fn asks(job: &ValidJob, catalog: &Catalog, date: chrono::NaiveDate) -> Option<Asks> {
    asks_of(&catalog.plan(&order_of(job, date)).ok()?)
}

fn asks_of(plan: &Plan) -> Option<Asks> {
    let asks = |system: &str, requests: usize| {
        Some(Asks { system: system.to_owned(), requests: u32::try_from(requests).unwrap_or(u32::MAX) })
    };
    if let Some(answer) = plan.answer() {
        return asks(&answer.system, 1);
    }
    if let Some(outline) = plan.outline() {
        // The headings, and a text under each.
        return asks(&outline.system, 1 + outline.items + plan.slots().len());
    }
    asks(&plan.slots().first()?.system, plan.slots().len())
}

/// Requests by system message.
fn add_up(
    waiting: &[Waiting],
    kinds: &HashMap<Kind, Option<Asks>>,
    is_own: impl Fn(Group) -> bool,
) -> HashMap<String, u32> {
    let mut all: HashMap<String, u32> = HashMap::new();
    for waiting in waiting {
        let Some(Some(asks)) = kinds.get(&kind(waiting)) else { continue };
        let part = if is_own(waiting.group) { 1 } else { OTHERS_PART };
        let requests = waiting.jobs.saturating_mul(asks.requests.into()).div_ceil(part);
        let known = all.entry(asks.system.clone()).or_default();
        *known = known.saturating_add(u32::try_from(requests).unwrap_or(u32::MAX));
    }
    all
}

#[cfg(test)]
mod tests {
    use bul_job::{JobId, Limits, RawJob, TenantId, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    fn valid(job: Value) -> ValidJob {
        let raw = RawJob::from_value(job).unwrap();
        ValidJob::parse(raw, Timestamp::UNIX_EPOCH, &Limits::default()).unwrap()
    }

    fn of(job: Value) -> Option<Asks> {
        let catalog = Catalog::builtin().unwrap();
        asks(&valid(job), &catalog, Timestamp::UNIX_EPOCH.date_naive())
    }

    fn plan(sections: &[&str]) -> Value {
        json!({"query": "A plan", "business_area": "sales", "doc_type": "plan", "data": {"sections": sections}})
    }

    #[test]
    fn a_plan_tells_what_its_job_asks() {
        let two = of(plan(&["Scope", "Costs"])).unwrap();
        assert_eq!(two.requests, 2);
        assert!(two.system.starts_with("Area: sales\nDocument: plan\n"), "{two:?}");
        let outlined = of(json!({"query": "A plan", "business_area": "sales", "doc_type": "plan"})).unwrap();
        assert_eq!(outlined.system, two.system);
        assert!(outlined.requests > 2, "headings, and a text under each: {outlined:?}");
        let mut answer = plan(&[]);
        answer["response_schema"] = json!({"type": "object", "properties": {"total": {"type": "number"}}});
        assert_eq!(of(answer).unwrap().requests, 1);
        assert_eq!(of(json!({"template": "no-such-template", "data": {}})), None);
    }

    fn waiting(area: &str, jobs: u64) -> Waiting {
        let tenant = TenantId::default_tenant();
        let job = valid(json!({"query": "x", "business_area": area, "doc_type": "plan"}));
        let group = Group::of(&tenant, &job);
        let first = JobId::in_group(group);
        Waiting { template: "document".into(), business_area: area.into(), group, first, tenant, jobs }
    }

    #[test]
    fn jobs_count_by_what_they_ask_and_less_where_others_serve_them_first() {
        let all = [waiting("sales", 40), waiting("legal", 3), waiting("finance", 9)];
        let asks = |requests| Some(Asks { system: "same".into(), requests });
        let kinds =
            HashMap::from([(kind(&all[0]), asks(2)), (kind(&all[1]), asks(4)), (kind(&all[2]), None)]);
        assert_eq!(add_up(&all, &kinds, |_| true), HashMap::from([("same".into(), 92)]));
        let sales = all[0].group;
        assert_eq!(add_up(&all, &kinds, |group| group == sales), HashMap::from([("same".into(), 81)]));
        assert_eq!(add_up(&all, &HashMap::new(), |_| true), HashMap::new());
    }
}
