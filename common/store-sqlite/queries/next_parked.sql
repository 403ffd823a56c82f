-- The oldest jobs parked in a lane of a tenant.
SELECT id, tenant, lane, accepted_at, started_at, ended_at, purged_at, state, attempt, publish, failures,
       crashes, max_attempts, due_at, cancel_requested, deadline, dead_reason, failure_code,
       failure_message, worker, parked
FROM jobs INDEXED BY jobs_parked WHERE parked IS NOT NULL AND tenant = ?1 AND lane = ?2
ORDER BY n LIMIT ?3
