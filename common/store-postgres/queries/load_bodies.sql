-- The same, with what was asked for.
SELECT id, tenant, lane, accepted_at, state, attempt, publish, failures, crashes, max_attempts, due_at, cancel_requested,
       deadline, started_at, ended_at, worker, dead_reason, failure_code, failure_message, purged_at IS NOT NULL, parked,
       body
FROM jobs WHERE id = ANY($1)
