//! Editing a dead letter: the whole job, or a JSON merge patch (RFC 7396) of it.
//!
//! The edited job passes the same checks as a new one. The answer is a unified diff of what changed,
//! so that the operator sees the effect of a patch before replaying.

use bul_job::{FieldError, JobError, JobId, Limits, PriorityInput, RawJob, TenantId, Timestamp, ValidJob};
use bul_store::{DeadLetter, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::TextDiff;

use crate::Replayer;

/// Lines of context in a diff.
const DIFF_CONTEXT_LINES: usize = 3;
/// Nesting of a patch at most; that of job data is checked afterwards.
const PATCH_DEPTH_MAX: usize = 64;

/// A change of a dead letter.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// The job anew.
    Whole(Box<RawJob>),
    /// A merge patch: members replace, `null` removes.
    Patch(Value),
}

/// What an edit changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditReport {
    /// Dead letter.
    pub id: JobId,
    /// Whether anything differs; otherwise nothing was written.
    pub changed: bool,
    /// Unified diff of the job's JSON before and after; empty without a change.
    pub diff: String,
    /// Whether nothing was written on purpose.
    pub dry_run: bool,
}

/// An edit that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// A patch needs a job to patch.
    #[error("the message could not be read, so there is no job to patch; give the whole job")]
    NothingToPatch,
    /// The edited job is not valid.
    #[error(transparent)]
    Invalid(#[from] JobError),
    /// The store failed, or there is no such dead letter.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Replayer {
    /// Edits a dead letter; it stays dead until it is replayed.
    pub async fn edit(
        &self,
        tenant: &TenantId,
        id: JobId,
        edit: Edit,
        actor: &str,
    ) -> Result<EditReport, EditError> {
        let letter = self.show(tenant, id).await?;
        let (job, report) = self.edited_of(&letter, edit)?;
        if report.changed {
            self.store.edit_dead_letter(tenant, id, &job, actor).await?;
        }
        Ok(report)
    }

    /// Checks an edit and shows what it would change, without making it.
    pub async fn preview(&self, tenant: &TenantId, id: JobId, edit: Edit) -> Result<EditReport, EditError> {
        let letter = self.show(tenant, id).await?;
        let (_, report) = self.edited_of(&letter, edit)?;
        Ok(EditReport { dry_run: true, ..report })
    }

    /// The job that the edit makes of the letter's, checked, and how the two differ.
    pub(crate) fn edited_of(
        &self,
        letter: &DeadLetter,
        edit: Edit,
    ) -> Result<(ValidJob, EditReport), EditError> {
        let now = self.store.now();
        let before = letter.job.as_ref().map(|job| as_raw(job, now));
        let job = edited(before.as_ref(), edit, now, &self.limits)?;
        (self.check)(&job).map_err(JobError::Fields)?;
        let after = as_raw(&job, now);
        let changed = before.as_ref() != Some(&after);
        let mut diff = String::new();
        if changed {
            let old = before.as_ref().map(pretty).unwrap_or_default();
            diff = unified(&old, &pretty(&after), letter.id);
        }
        Ok((job, EditReport { id: letter.id, changed, diff, dry_run: false }))
    }
}

fn edited(
    before: Option<&RawJob>,
    edit: Edit,
    now: Timestamp,
    limits: &Limits,
) -> Result<ValidJob, EditError> {
    let raw = match edit {
        Edit::Whole(raw) => *raw,
        Edit::Patch(patch) => {
            let before = before.ok_or(EditError::NothingToPatch)?;
            if !patch.is_object() {
                return Err(
                    JobError::Fields(vec![FieldError::new("", "a patch must be a JSON object")]).into()
                );
            }
            let mut value = serde_json::to_value(before).map_err(|e| JobError::Syntax(e.to_string()))?;
            merge(&mut value, patch, PATCH_DEPTH_MAX);
            RawJob::from_value(value)?
        }
    };
    Ok(ValidJob::parse(raw, now, limits)?)
}

/// RFC 7396: objects merge member by member, `null` removes, anything else replaces.
fn merge(target: &mut Value, patch: Value, depth: usize) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if depth == 0 {
        return;
    }
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(members) = target {
        for (key, value) in patch {
            if value.is_null() {
                members.remove(&key);
            } else {
                merge(members.entry(key).or_insert(Value::Null), value, depth - 1);
            }
        }
    }
}

/// The job as somebody would submit it now. A deadline that has passed is left out: it would be
/// refused, and a replay drops it anyway.
pub fn as_raw(job: &ValidJob, now: Timestamp) -> RawJob {
    RawJob {
        kind: Some(job.kind.as_str().to_owned()),
        template: Some(job.template.clone()),
        query: job.query.clone(),
        business_area: job.business_area.clone(),
        doc_type: job.doc_type.clone(),
        data: (!job.data.is_empty()).then(|| job.data.clone()),
        context: job.context.clone(),
        response_schema: job.response_schema.clone(),
        formats: Some(job.formats.iter().map(|f| f.as_str().to_owned()).collect()),
        language: Some(job.language.clone()),
        priority: Some(PriorityInput::Name(job.lane.as_str().to_owned())),
        session_id: job.session_id.clone(),
        idempotency_key: job.idempotency_key.clone(),
        run_at: job.run_at.map(|t| t.to_rfc3339()),
        deadline: job.deadline.filter(|deadline| *deadline > now).map(|t| t.to_rfc3339()),
        max_attempts: Some(job.max_attempts),
        dedup: job.dedup.then_some(true),
        callback_url: None,
        params: (job.params != bul_job::Params::default()).then_some(job.params),
        metadata: (!job.metadata.is_empty()).then(|| job.metadata.clone()),
    }
}

fn pretty(job: &RawJob) -> String {
    let mut text = serde_json::to_string_pretty(job).unwrap_or_default();
    text.push('\n');
    text
}

fn unified(old: &str, new: &str, id: JobId) -> String {
    let diff = TextDiff::from_lines(old, new);
    let header = format!("{id}.json");
    diff.unified_diff().context_radius(DIFF_CONTEXT_LINES).header(&header, &header).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check_merge(mut target: Value, patch: Value, expected: Value) {
        merge(&mut target, patch, PATCH_DEPTH_MAX);
        assert_eq!(target, expected);
    }

    #[test]
    fn patches_merge_as_rfc_7396_says() {
        check_merge(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
        check_merge(json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"}));
        check_merge(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}));
        check_merge(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}));
        check_merge(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}}));
        check_merge(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}));
    }

    #[test]
    fn a_job_survives_the_way_back_to_its_raw_form() {
        let now: Timestamp = "2026-11-16T09:00:00Z".parse().unwrap();
        let limits = Limits::default();
        let raw = RawJob::from_value(json!({
            "template": "invoice", "data": {"a": 1}, "priority": "high", "formats": ["md", "pdf"],
            "deadline": "2026-11-17T09:00:00Z", "params": {"seed": 7}, "metadata": {"k": "v"}, "dedup": true
        }));
        let free = RawJob::from_value(json!({"query": "x", "response_schema": {"type": "integer"}}));
        let free = ValidJob::parse(free.unwrap(), now, &limits).unwrap();
        assert_eq!(ValidJob::parse(as_raw(&free, now), now, &limits).unwrap(), free);
        let job = ValidJob::parse(raw.unwrap(), now, &limits).unwrap();
        assert_eq!(ValidJob::parse(as_raw(&job, now), now, &limits).unwrap(), job);
        let later = now + chrono::TimeDelta::days(2);
        assert_eq!(ValidJob::parse(as_raw(&job, later), later, &limits).unwrap().deadline, None);
    }
}
