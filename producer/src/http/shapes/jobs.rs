//! Shapes of jobs, batches and events.

use std::collections::BTreeMap;

use bul_job::Timestamp as DateTime;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{DeadReason, FieldError, Lane, State};

/// A priority by name in any case, or by number from 0 (critical) to 3 (low).
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Priority {
    Number(i64),
    Name(String),
}

shapes! {
    /// Sampling parameters.
    JobParams {
        max_tokens: Option<u32>,
        temperature: Option<f32>,
        top_p: Option<f32>,
        seed: Option<u64>,
    }
    /// A job as submitted. `template` or `query` is needed.
    Job {
        kind: Option<String>,
        template: Option<String>,
        query: Option<String>,
        business_area: Option<String>,
        doc_type: Option<String>,
        data: Option<BTreeMap<String, Value>>,
        context: Option<String>,
        /// JSON Schema of the answer, beside a `query` alone: the answer is a JSON value that fits it. The format `json`
        /// holds the value, the others show it as headings, lists and tables. At most 64 KiB; keywords that an answer
        /// cannot be held to are refused by name.
        response_schema: Option<Value>,
        /// `md`, `html`, `pdf`, `json`, `txt`; `pdf` if not given.
        formats: Option<Vec<String>>,
        language: Option<String>,
        priority: Option<Priority>,
        session_id: Option<String>,
        idempotency_key: Option<String>,
        run_at: Option<DateTime>,
        deadline: Option<DateTime>,
        max_attempts: Option<u32>,
        dedup: Option<bool>,
        params: Option<JobParams>,
        metadata: Option<BTreeMap<String, Value>>,
    }
    /// A job as stored.
    StoredJob {
        kind: String,
        template: String,
        query: Option<String>,
        business_area: Option<String>,
        doc_type: Option<String>,
        data: BTreeMap<String, Value>,
        context: Option<String>,
        response_schema: Option<Value>,
        formats: Vec<String>,
        language: String,
        lane: Lane,
        session_id: Option<String>,
        idempotency_key: Option<String>,
        run_at: Option<DateTime>,
        deadline: Option<DateTime>,
        max_attempts: u32,
        dedup: bool,
        params: JobParams,
        metadata: BTreeMap<String, Value>,
    }
    /// Answer to one submitted job.
    Submitted {
        id: Uuid,
        state: State,
        /// Whether it was there already.
        existing: bool,
        location: String,
    }
    /// Answer to one job of a batch.
    BatchLine {
        /// Where it stood in the body.
        place: String,
        /// `new`, `existing`, `conflict` or `invalid`.
        outcome: String,
        id: Option<Uuid>,
        state: Option<State>,
        location: Option<String>,
        errors: Option<Vec<FieldError>>,
    }
    /// Answers to a batch, in its order.
    BatchAnswer {
        accepted: u64,
        existing: u64,
        conflicts: u64,
        invalid: u64,
        jobs: Vec<BatchLine>,
    }
    /// State in short.
    JobStatus {
        state: State,
        attempt: u32,
        due_at: Option<DateTime>,
        dead_reason: Option<DeadReason>,
        message: Option<String>,
    }
    /// A line of the list.
    JobSummary {
        id: Uuid,
        template: String,
        business_area: String,
        lane: Lane,
        state: State,
        attempt: u32,
        due_at: Option<DateTime>,
        dead_reason: Option<DeadReason>,
        message: Option<String>,
        title: String,
        accepted_at: DateTime,
        ended_at: Option<DateTime>,
    }
    /// A page of jobs.
    JobPage {
        items: Vec<JobSummary>,
        next_cursor: Option<String>,
    }
    /// Counters of a job.
    JobCore {
        state: State,
        attempt: u32,
        publish: u32,
        failures: u32,
        crashes: u32,
        max_attempts: u32,
        due_at: Option<DateTime>,
        cancel_requested: bool,
        deadline: Option<DateTime>,
        /// Why it waits for a place and not for a time: `running_max`, `turn` or `budget`.
        parked: Option<String>,
    }
    /// What a job cost.
    Usage {
        model: String,
        prompt_tokens: u64,
        cached_tokens: u64,
        output_tokens: u64,
        generate_ms: f64,
        write_ms: f64,
        total_ms: f64,
        /// Of the cached tokens, those that were kept in the memory of the model's host.
        host_tokens: u64,
        /// Of the cached tokens, those that were kept on disk.
        disk_tokens: u64,
        /// Of the cached tokens, those that came from the store that engines share.
        remote_tokens: u64,
        /// Answers that were another request's: the same one was being computed already.
        attached: u64,
        /// Answers that an earlier attempt of the job had kept.
        kept_texts: u64,
        /// How often its requests gave their memory back to others and started again.
        preemptions: u64,
        /// Tokens computed again because of that.
        recomputed_tokens: u64,
        /// Waiting for the model, all requests together.
        queue_ms: f64,
        /// From the start of the first request to its first token.
        first_token_ms: f64,
    }
    /// A recorded failure.
    Failure {
        /// `transient`, `permanent`, `poison` or `cancelled`.
        class: String,
        code: String,
        message: String,
        retry_after_ms: Option<u64>,
    }
    /// One attempt.
    Attempt {
        attempt: u32,
        worker: String,
        started_at: DateTime,
        ended_at: Option<DateTime>,
        outcome: String,
        failure: Option<Failure>,
    }
    /// Everything about a job.
    JobDetail {
        id: Uuid,
        template: String,
        business_area: String,
        lane: Lane,
        state: State,
        attempt: u32,
        due_at: Option<DateTime>,
        dead_reason: Option<DeadReason>,
        message: Option<String>,
        title: String,
        accepted_at: DateTime,
        ended_at: Option<DateTime>,
        job: Option<StoredJob>,
        core: JobCore,
        source: String,
        /// Sizes in bytes by format.
        documents: BTreeMap<String, u64>,
        usage: Option<Usage>,
        findings: Vec<Value>,
        attempts: Vec<Attempt>,
        /// Why it is where it is, in a sentence.
        explanation: String,
    }
    /// Data of a server-sent event; which members it has depends on `event`.
    Event {
        job: Uuid,
        at: DateTime,
        /// `state`, `progress` or `token`; also the name of the event.
        event: String,
        state: Option<State>,
        attempt: Option<u32>,
        message: Option<String>,
        stage: Option<String>,
        done: Option<u32>,
        total: Option<u32>,
        slot: Option<String>,
        text: Option<String>,
    }
}
