//! Dead letters chosen for an operation, a page at a time.

use std::collections::BTreeSet;

use bul_job::{JobId, TenantId};
use bul_store::{DeadFilter, StoreError};

use crate::{Replayer, Selection};

/// Dead letters read per page.
const PAGE: usize = 200;

/// The chosen ids, page by page.
pub(crate) enum Pages {
    Ids(Option<Vec<JobId>>),
    Filter { filter: DeadFilter, exhausted: bool },
}

impl Pages {
    /// Those behind `after`, in the order of their ids and each once, so that a later call can go on where an
    /// earlier one has ended.
    pub(crate) fn new(selection: &Selection, after: Option<JobId>) -> Self {
        match selection {
            Selection::Ids(ids) => {
                let ids: BTreeSet<JobId> = ids.iter().copied().filter(|id| Some(*id) > after).collect();
                Self::Ids(Some(ids.into_iter().collect()))
            }
            Selection::Filter(filter) => {
                let after = after.max(filter.after);
                Self::Filter { filter: DeadFilter { limit: PAGE, after, ..filter.clone() }, exhausted: false }
            }
        }
    }

    /// How many there are.
    pub(crate) async fn count(&self, replayer: &Replayer, tenant: &TenantId) -> Result<u64, StoreError> {
        match self {
            Self::Ids(ids) => {
                let ids: Vec<JobId> = ids.iter().flatten().copied().collect();
                // An empty list of ids would mean "any" to the store.
                if ids.is_empty() {
                    return Ok(0);
                }
                replayer.store.count_dead_letters(tenant, &DeadFilter { ids, ..DeadFilter::default() }).await
            }
            Self::Filter { filter, .. } => replayer.store.count_dead_letters(tenant, filter).await,
        }
    }

    /// The next page; empty at the end. The cursor only moves forward: a job that was replayed and
    /// died again meanwhile is not met a second time.
    pub(crate) async fn next(
        &mut self,
        replayer: &Replayer,
        tenant: &TenantId,
    ) -> Result<Vec<JobId>, StoreError> {
        match self {
            Self::Ids(ids) => Ok(ids.take().unwrap_or_default()),
            Self::Filter { exhausted: true, .. } => Ok(Vec::new()),
            Self::Filter { filter, exhausted } => {
                let page: Vec<JobId> = replayer
                    .store
                    .dead_letters(tenant, filter)
                    .await?
                    .into_iter()
                    .map(|letter| letter.id)
                    .collect();
                *exhausted = page.len() < PAGE;
                filter.after = page.iter().max().copied().or(filter.after);
                Ok(page)
            }
        }
    }
}
