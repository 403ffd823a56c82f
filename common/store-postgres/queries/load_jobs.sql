-- The part of jobs that a transition needs. Nothing is locked: save.sql writes only what is still as it
-- was read.
SELECT id, tenant, lane, accepted_at, state, attempt, publish, failures, crashes, max_attempts, due_at, cancel_requested,
       deadline, started_at, ended_at, worker, dead_reason, failure_code, failure_message, purged_at IS NOT NULL, parked
FROM jobs WHERE id = ANY($1)
