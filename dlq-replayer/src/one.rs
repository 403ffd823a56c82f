//! Replaying one dead letter, with or without an edit: the same rules as for many, in one answer.

use bul_job::{JobId, TenantId};
use bul_store::{ReplayAs, StoreError};
use serde_json::Value;

use crate::report::Tally;
use crate::{Edit, EditError, EditReport, ReplayOptions, ReplayReport, Replayer};

/// A replay of one dead letter that was not made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A dependency of the jobs is down, named in words.
    #[error("{0}; replay it once it is back, or ignore breakers")]
    Halted(String),
    /// Edit or store said no.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        Self::Edit(error.into())
    }
}

impl Replayer {
    /// Puts one dead letter back to work at once; of the options patch, dry run and breakers count. While a
    /// dependency is down it is refused, before anything has changed.
    pub async fn replay_one(
        &self,
        tenant: &TenantId,
        id: JobId,
        options: &ReplayOptions,
        actor: &str,
    ) -> Result<ReplayReport, ReplayError> {
        let halted = if options.ignore_breakers { None } else { (self.halted)().await? };
        let mut tally = Tally::default();
        if options.dry_run {
            match &options.patch {
                Some(patch) => {
                    let edit = self.preview(tenant, id, Edit::Patch(patch.clone())).await?;
                    tally.foresee(id, Ok(edit));
                }
                None => drop(self.show(tenant, id).await?),
            }
        } else if let Some(why) = halted {
            return Err(ReplayError::Halted(why));
        } else {
            let how = ReplayAs { at: None, forced: options.ignore_breakers };
            let edit = self.replay_patched(tenant, id, how, options.patch.as_ref(), actor).await?;
            tally.record(id, Ok(edit));
            return Ok(ReplayReport { matched: 1, ..tally.report });
        }
        Ok(ReplayReport { matched: 1, dry_run: true, ids: vec![id], halted, ..tally.report })
    }

    /// Replays a letter as the patch makes it, in one transaction; says what the patch changed.
    pub(crate) async fn replay_patched(
        &self,
        tenant: &TenantId,
        id: JobId,
        how: ReplayAs,
        patch: Option<&Value>,
        actor: &str,
    ) -> Result<Option<EditReport>, EditError> {
        let mut edited = None;
        if let Some(patch) = patch {
            let letter = self.show(tenant, id).await?;
            edited = Some(self.edited_of(&letter, Edit::Patch(patch.clone()))?)
                .filter(|(_, report)| report.changed);
        }
        let (job, report) = edited.unzip();
        self.store.replay(tenant, id, job.as_ref(), how, actor).await?;
        Ok(report)
    }
}
