-- The same for one job.
SELECT id, tenant, lane, accepted_at, started_at, ended_at, purged_at, state, attempt, publish, failures,
       crashes, max_attempts, due_at, cancel_requested, deadline, dead_reason, failure_code,
       failure_message, worker, parked
FROM jobs WHERE id = ?1
