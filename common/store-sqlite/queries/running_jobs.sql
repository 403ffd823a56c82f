-- Rows whose lease somebody holds; only jobs with a due time can be running.
SELECT id, tenant, lane, accepted_at, started_at, ended_at, purged_at, state, attempt, publish, failures,
       crashes, max_attempts, due_at, cancel_requested, deadline, dead_reason, failure_code,
       failure_message, worker, parked
FROM jobs INDEXED BY jobs_due WHERE due_at IS NOT NULL AND state = 'running'
ORDER BY due_at LIMIT ?1
