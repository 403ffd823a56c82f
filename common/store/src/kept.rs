//! Rows and answers beside the jobs themselves: dead letters, audit, schedules, keys, usage.

use bul_job::{DeadReason, JobId, MissedPolicy, RawJob, ScheduleId, TenantId, Timestamp, ValidJob};
use serde::{Deserialize, Serialize};

/// Which dead letters.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    /// Only these; empty for all.
    pub ids: Vec<JobId>,
    /// Only this reason.
    pub reason: Option<DeadReason>,
    /// Only failures with this code.
    pub code: Option<String>,
    /// Only this template.
    pub template: Option<String>,
    /// Only those that died at or after.
    pub since: Option<Timestamp>,
    /// Only jobs after this id.
    pub after: Option<JobId>,
    /// Page size, see [`page_size`](crate::page_size).
    pub limit: usize,
}

/// A dead letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Job.
    pub id: JobId,
    /// Tenant.
    pub tenant: TenantId,
    /// Why.
    pub reason: DeadReason,
    /// Code of the last failure.
    pub code: String,
    /// Message of the last failure.
    pub message: String,
    /// Attempts made.
    pub attempts: u32,
    /// When it died.
    pub died_at: Timestamp,
    /// Template.
    pub template: String,
    /// The job, unless it was unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<ValidJob>,
    /// Size of the raw message, when it was unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_bytes: Option<u64>,
    /// The unreadable message itself, at most 64 KiB of it, as text with replacement characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_text: Option<String>,
}

/// A line of the audit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditLine {
    /// When.
    pub at: Timestamp,
    /// Who: key name.
    pub actor: String,
    /// `dlq.edit`, `dlq.replay`, `dlq.purge`.
    pub action: String,
    /// Job.
    pub job: JobId,
    /// Further words, for example which fields were edited.
    pub detail: String,
}

/// How a dead letter is put back to work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayAs {
    /// When it runs; at once, if absent.
    pub at: Option<Timestamp>,
    /// Whether somebody wanted it so whatever the circuit breakers say. Stands in the audit.
    pub forced: bool,
}

impl ReplayAs {
    /// What the audit says of it.
    pub fn detail(self) -> String {
        let at = self.at.map(|at| format!("at {}", at.to_rfc3339()));
        let forced = self.forced.then(|| "forced".to_owned());
        forced.into_iter().chain(at).collect::<Vec<_>>().join("; ")
    }
}

/// A schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schedule {
    /// Id.
    pub id: ScheduleId,
    /// Tenant.
    pub tenant: TenantId,
    /// Name, unique per tenant.
    pub name: String,
    /// Cron expression.
    pub cron: String,
    /// IANA zone.
    pub zone: String,
    /// Missed fires.
    pub missed: MissedPolicy,
    /// The job to make, validated anew at each fire.
    pub job: RawJob,
    /// Paused schedules do not fire.
    pub paused: bool,
    /// Next fire; `None` when the calendar holds none.
    pub next_at: Option<Timestamp>,
    /// Latest fire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
}

/// A change of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleChange {
    /// Stop firing.
    Pause,
    /// Fire again, next at this time; what was missed while paused is not made up for.
    Resume {
        /// Next fire.
        next_at: Option<Timestamp>,
    },
}

/// What a key may do; each includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// See jobs and documents.
    Read,
    /// Submit and cancel jobs.
    Submit,
    /// Schedules and dead letters.
    Operate,
}

impl Permission {
    /// Name as in JSON and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Operate => "operate",
        }
    }

    /// Parses a name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::Submit, Self::Operate].into_iter().find(|p| p.as_str() == name)
    }
}

/// An API key: the secret itself is never stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiKey {
    /// Public id, for lists and revocation.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Tenant it acts for.
    pub tenant: TenantId,
    /// What it may do.
    pub permission: Permission,
    /// SHA-256-strength hash (blake3) of the secret.
    #[serde(skip)]
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// Usage of a tenant by template and area.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageLine {
    /// Template.
    pub template: String,
    /// Business area.
    pub business_area: String,
    /// Jobs completed.
    pub jobs: u64,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Cached prompt tokens.
    pub cached_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Attempt time, milliseconds.
    pub total_ms: f64,
    /// Of the cached tokens, those that were kept in the memory of the model's host.
    #[serde(default)]
    pub host_tokens: u64,
    /// Of the cached tokens, those that were kept on disk.
    #[serde(default)]
    pub disk_tokens: u64,
    /// Of the cached tokens, those that came from the store that engines share.
    #[serde(default)]
    pub remote_tokens: u64,
    /// Answers that were another request's: the same one was being computed already.
    #[serde(default)]
    pub attached: u64,
    /// How often requests gave their memory back to others and started again.
    #[serde(default)]
    pub preemptions: u64,
    /// Tokens computed again because of that.
    #[serde(default)]
    pub recomputed_tokens: u64,
}
