-- Jobs of watches that still have a due time. Most have moved on, and cost no more than a look.
SELECT id, tenant, lane, accepted_at, state, attempt, publish, failures, crashes, max_attempts, due_at, cancel_requested,
       deadline, started_at, ended_at, worker, dead_reason, failure_code, failure_message, purged_at IS NOT NULL, parked
FROM jobs WHERE id = ANY($1) AND due_at IS NOT NULL
