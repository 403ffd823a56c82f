-- The same for many jobs; ?1 is a JSON array of ids in hexadecimal.
SELECT id, tenant, lane, accepted_at, ended_at, purged_at, state, attempt, publish, failures, crashes,
       max_attempts, due_at, cancel_requested, deadline, dead_reason, failure_code, failure_message
FROM jobs WHERE id IN (SELECT unhex(value) FROM json_each(?1))
