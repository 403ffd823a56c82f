-- Jobs whose lease somebody holds. Reads the whole table: only for a process that starts alone.
SELECT id, tenant, lane, accepted_at, state, attempt, publish, failures, crashes, max_attempts, due_at, cancel_requested,
       deadline, started_at, ended_at, worker, dead_reason, failure_code, failure_message, purged_at IS NOT NULL, parked
FROM jobs WHERE state = 'running'
LIMIT $1
