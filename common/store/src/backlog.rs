//! What waits, by kind: how many of the next jobs begin their prompts alike, for those who prepare for them.
//!
//! Both stores read the rows that come next and leave the counting to this. Invariant: a look costs the same however long the
//! queue is.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bul_job::{Group, JobId, Lane, LaneWheel, TenantId};

/// Jobs that one look counts at most. Too few: the next minutes of a fast installation are not seen. Too many: each look reads
/// as many rows of each lane.
pub const BACKLOG_MAX: usize = 1_000;

/// What to look at.
#[derive(Debug, Clone)]
pub struct BacklogFilter {
    /// Lanes that the asking process serves.
    pub lanes: Vec<Lane>,
    /// Jobs that fall due within this time count as well.
    pub within: Duration,
    /// Jobs counted; at most [`BACKLOG_MAX`].
    pub limit: usize,
}

impl Default for BacklogFilter {
    fn default() -> Self {
        Self { lanes: Lane::ALL.to_vec(), within: Duration::from_secs(10), limit: BACKLOG_MAX }
    }
}

impl BacklogFilter {
    /// Jobs counted, within the limit of the store.
    pub fn limit(&self) -> usize {
        self.limit.min(BACKLOG_MAX)
    }
}

/// Jobs of one kind that wait: of one template and area, and of one [`Group`], which tells document types apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Template.
    pub template: String,
    /// Area.
    pub business_area: String,
    /// Group that the ids end in.
    pub group: Group,
    /// The one that comes first, for who wants to know what its kind asks for.
    pub first: JobId,
    /// Tenant of that one.
    pub tenant: TenantId,
    /// How many there are.
    pub jobs: u64,
}

/// A row of the queue, as the stores read it.
#[derive(Debug, Clone)]
pub struct WaitingJob {
    /// Lane.
    pub lane: Lane,
    /// Job.
    pub id: JobId,
    /// Tenant.
    pub tenant: TenantId,
    /// Template.
    pub template: String,
    /// Area.
    pub business_area: String,
}

/// Counts by kind the first `limit` of the jobs that are `ready`, the oldest of each lane first, in the turns in which lanes are
/// served; where these are fewer, of those that fall due `soon`. The kinds of most jobs come first.
pub fn count_waiting(ready: Vec<WaitingJob>, soon: Vec<WaitingJob>, limit: usize) -> Vec<Waiting> {
    let mut lanes: [VecDeque<WaitingJob>; 4] = Default::default();
    for job in ready {
        lanes[job.lane.index()].push_back(job);
    }
    let (mut wheel, mut kinds): (LaneWheel, HashMap<_, Waiting>) = Default::default();
    let next = std::iter::from_fn(|| {
        let lane = wheel.choose(|lane| !lanes[lane.index()].is_empty())?;
        lanes[lane.index()].pop_front()
    });
    for job in next.chain(soon).take(limit) {
        let group = job.id.group();
        let kind = kinds.entry((job.template.clone(), job.business_area.clone(), group));
        let waiting = kind.or_insert_with(|| Waiting {
            template: job.template,
            business_area: job.business_area,
            group,
            first: job.id,
            tenant: job.tenant,
            jobs: 0,
        });
        waiting.jobs += 1;
    }
    let mut kinds: Vec<Waiting> = kinds.into_values().collect();
    kinds.sort_by(|a, b| (b.jobs, a.first).cmp(&(a.jobs, b.first)));
    kinds
}
