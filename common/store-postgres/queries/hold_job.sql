-- The part of a job that a fence needs. What would end its attempt waits until this transaction ends.
SELECT id, tenant, lane, accepted_at, state, attempt, publish, failures, crashes, max_attempts, due_at, cancel_requested,
       deadline, started_at, ended_at, worker, dead_reason, failure_code, failure_message, purged_at IS NOT NULL, parked
FROM jobs WHERE id = $1
FOR SHARE
