//! Shapes of schedules, dead letters, templates and accounts.

use std::collections::BTreeMap;

use bul_job::Timestamp as DateTime;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{DeadReason, Job, Json, StoredJob};

/// What becomes of fires missed while nothing ran.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MissedPolicy {
    Skip,
    Once,
    All,
}

/// A filter as an expression or as an object of conditions.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Filter {
    Expression(String),
    Conditions(Conditions),
}

shapes! {
    /// A schedule to add.
    NewSchedule {
        name: String,
        /// Five fields, or `@daily` and the like.
        cron: String,
        /// IANA name; UTC if not given.
        timezone: Option<String>,
        missed: Option<MissedPolicy>,
        job: Job,
    }
    /// A schedule.
    Schedule {
        id: Uuid,
        tenant: String,
        name: String,
        cron: String,
        zone: String,
        missed: MissedPolicy,
        job: Job,
        paused: bool,
        next_at: Option<DateTime>,
        last_at: Option<DateTime>,
    }
    /// All schedules.
    SchedulePage {
        items: Vec<Schedule>,
    }
    /// Coming fires.
    Next {
        name: String,
        paused: bool,
        next: Vec<DateTime>,
    }
    /// A dead letter.
    DeadLetter {
        id: Uuid,
        tenant: String,
        reason: DeadReason,
        code: String,
        message: String,
        attempts: u32,
        died_at: DateTime,
        template: String,
        job: Option<StoredJob>,
        raw_bytes: Option<u64>,
        raw_text: Option<String>,
    }
    /// A page of dead letters.
    DeadPage {
        items: Vec<DeadLetter>,
        total: u64,
        next_cursor: Option<String>,
    }
    /// What an edit changed.
    EditReport {
        id: Uuid,
        changed: bool,
        /// Unified diff of the job's JSON.
        diff: String,
        /// Whether nothing was written on purpose.
        dry_run: bool,
    }
    /// Conditions; all must hold.
    Conditions {
        reason: Option<DeadReason>,
        code: Option<String>,
        template: Option<String>,
        since: Option<String>,
    }
    /// Which dead letters: `ids` or `filter`.
    ReplayRequest {
        ids: Option<Vec<Uuid>>,
        filter: Option<Filter>,
        /// For example `10/s`, `600/m`.
        rate: Option<String>,
        /// JSON merge patch (RFC 7396) of each job, made with its replay.
        edit: Option<Json>,
        /// `next_cursor` of the answer before.
        cursor: Option<String>,
        /// Only count, name the first ids and show what the edit would change in them.
        dry_run: Option<bool>,
        /// Go on although a dependency of the jobs is down; `force` means the same.
        ignore_breakers: Option<bool>,
    }
    /// How to replay one dead letter.
    OneReplayRequest {
        /// JSON merge patch (RFC 7396) of the job, made with its replay.
        edit: Option<Json>,
        /// Only check and show what the edit would change.
        dry_run: Option<bool>,
        /// Replay although a dependency of the jobs is down; `force` means the same.
        ignore_breakers: Option<bool>,
    }
    /// Which dead letters: `ids` or `filter`.
    PurgeRequest {
        ids: Option<Vec<Uuid>>,
        filter: Option<Filter>,
        dry_run: Option<bool>,
    }
    /// A letter that an edit does not fit.
    Refusal {
        id: Uuid,
        message: String,
    }
    /// What a replay did.
    ReplayReport {
        matched: u64,
        replayed: u64,
        skipped: u64,
        failed: u64,
        /// Why it ended before all were done.
        stopped: Option<String>,
        /// The dependencies that are down, if it ended for them; in a dry run, if it would.
        halted: Option<String>,
        dry_run: bool,
        ids: Vec<Uuid>,
        /// What the edit changed in the first ones.
        edits: Option<Vec<EditReport>>,
        /// The first ones that the edit does not fit; they stay as they are.
        refusals: Option<Vec<Refusal>>,
        /// Where the next request goes on; without it, where this one began.
        next_cursor: Option<String>,
        /// Ask for the rest not earlier than in this time; absent when there is none to ask for.
        again_after_ms: Option<u64>,
    }
    /// What a purge did.
    PurgeReport {
        matched: u64,
        purged: u64,
        skipped: u64,
        failed: u64,
        stopped: Option<String>,
        dry_run: bool,
        ids: Vec<Uuid>,
    }
    /// A template.
    Template {
        name: String,
        title: String,
        business_area: String,
        doc_type: String,
        description: String,
        version: String,
        languages: Vec<String>,
        builtin: bool,
        samples: Vec<String>,
        /// JSON Schema of its data; in the answer for one template.
        schema: Option<Value>,
    }
    /// All templates.
    TemplatePage {
        items: Vec<Template>,
    }
    /// Sum of usage.
    UsageTotal {
        jobs: u64,
        prompt_tokens: u64,
        cached_tokens: u64,
        output_tokens: u64,
        total_ms: f64,
        /// Of the cached tokens, those that were kept in the memory of the model's host.
        host_tokens: u64,
        /// Of the cached tokens, those that were kept on disk.
        disk_tokens: u64,
        /// Of the cached tokens, those that came from the store that engines share.
        remote_tokens: u64,
        /// Answers that were another request's: the same one was being computed already.
        attached: u64,
        /// How often requests gave their memory back to others and started again.
        preemptions: u64,
        /// Tokens computed again because of that.
        recomputed_tokens: u64,
    }
    /// Usage of one template in one business area.
    UsageLine {
        template: String,
        business_area: String,
        jobs: u64,
        prompt_tokens: u64,
        cached_tokens: u64,
        output_tokens: u64,
        total_ms: f64,
        /// Of the cached tokens, those that were kept in the memory of the model's host.
        host_tokens: u64,
        /// Of the cached tokens, those that were kept on disk.
        disk_tokens: u64,
        /// Of the cached tokens, those that came from the store that engines share.
        remote_tokens: u64,
        /// Answers that were another request's: the same one was being computed already.
        attached: u64,
        /// How often requests gave their memory back to others and started again.
        preemptions: u64,
        /// Tokens computed again because of that.
        recomputed_tokens: u64,
    }
    /// Usage since a time.
    UsageReport {
        since: DateTime,
        total: UsageTotal,
        lines: Vec<UsageLine>,
    }
    /// Jobs by state; `accepted` is counted on its own.
    Counts {
        accepted: u64,
        completed: u64,
        cancelled: u64,
        dead: u64,
        waiting: u64,
        queued: u64,
        running: u64,
    }
    /// Messages in a lane.
    Depth {
        ready: u64,
        unacked: u64,
    }
    /// Where the jobs are.
    Stats {
        tenant: String,
        jobs: Counts,
        /// Whether accepted jobs and states add up.
        balances: bool,
        lanes: Option<BTreeMap<String, Depth>>,
    }
    /// A line of the audit.
    AuditLine {
        at: DateTime,
        actor: String,
        action: String,
        job: Uuid,
        detail: String,
    }
    /// The audit, newest first.
    AuditPage {
        items: Vec<AuditLine>,
    }
}
