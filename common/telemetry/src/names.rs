//! Every metric of the services, with its meaning. The engine's own stand in `bul-engine`, which
//! knows nothing of services.

/// Name and help text of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name; counters end in `_total`, times are seconds.
    pub name: &'static str,
    /// Help text.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Metric = Metric { name: $name, help: $help };)*
        /// All of them.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    HTTP_REQUESTS = "bul_http_requests_total", "HTTP requests by route, method and status.";
    HTTP_SECONDS = "bul_http_request_seconds", "Time to answer an HTTP request, by route.";
    JOBS_SUBMITTED = "bul_jobs_submitted_total", "Jobs submitted, by outcome: new, existing, conflict, invalid.";
    PUBLISH_FAILURES = "bul_publish_failures_total", "Publications the broker did not confirm; the dispatcher sends them again.";
    EVENT_STREAMS = "bul_event_streams", "Open event streams.";
    ATTEMPTS = "bul_attempts_total", "Attempts ended, by template and outcome.";
    ATTEMPT_SECONDS = "bul_attempt_seconds", "Duration of an attempt by stage: plan, generate, write, commit, all.";
    RUNNING = "bul_attempts_running", "Attempts running in this process, by lane.";
    TOKENS = "bul_tokens_total", "Tokens by kind: prompt, cached, output.";
    AFFINITY = "bul_worker_affinity_total", "Messages a worker took: own (from a partition that its process serves first), stolen (from another's), only (of everything, since nobody else is there or the lanes are undivided).";
    FORECAST = "bul_worker_forecast_requests", "Requests that workers tell the model to expect, by of: in_hand (attempts under way), backlog (jobs that wait). Only for a model that makes use of it.";
    BREAKER = "bul_breaker_state", "Circuit breakers by dependency: 0 closed, 1 half-open, 2 open.";
    DISPATCHED = "bul_dispatched_total", "Rows the dispatcher moved, by what became of them: published, unpublished, changed, reconciled.";
    SCHEDULE_FIRES = "bul_schedule_fires_total", "Cron fires, by outcome: made, duplicate, invalid.";
    PRUNED = "bul_pruned_total", "Rows removed after their time, by what: completed, cancelled, dead, documents, events.";
    LEADER = "bul_scheduler_leader", "1 while this process leads the scheduler.";
    LANE_DEPTH = "bul_lane_depth", "Messages in the broker, by lane and kind: ready, unacked; one may name several jobs.";
    CACHE_READS = "bul_cache_reads_total", "Look-ups of finished texts, by tier and outcome: hit, miss, corrupt, failed, skipped.";
    CACHE_WRITES = "bul_cache_writes_total", "Writes of finished texts, by tier and outcome: kept, too_large, dropped.";
    CACHE_BYTES_MOVED = "bul_cache_moved_bytes_total", "Bytes of finished texts, by tier and direction: read, written.";
    CACHE_BYTES = "bul_cache_bytes", "Bytes a tier of this process holds: memory, disk.";
    CACHE_ENTRIES = "bul_cache_entries", "Finished texts a tier of this process holds: memory, disk.";
    CACHE_ANSWERS = "bul_cache_answers_total", "Finished texts given out, by source: memory, redis, disk, shared, computed.";
    JOBS = "bul_jobs", "Jobs in the store by state, over all tenants.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut names: Vec<_> = ALL.iter().map(|m| m.name).collect();
        assert!(
            names
                .iter()
                .all(|n| n.starts_with("bul_") && n.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
