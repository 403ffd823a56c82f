-- Writes transitions, each provided that its row is still what the decision was made on: state and
-- counters, the due time (on which the watches depend) and the wish to cancel. Returns what was written.
UPDATE jobs j SET state = q.state, attempt = q.attempt, publish = q.publish, failures = q.failures,
    crashes = q.crashes, due_at = q.due_at, cancel_requested = q.cancel_requested, deadline = q.deadline,
    dead_reason = q.dead_reason, failure_code = q.failure_code, failure_message = q.failure_message,
    ended_at = q.ended_at, ended_late = q.ended_late,
    open_digest = CASE WHEN q.ended_at IS NULL THEN j.open_digest END
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::int[], $6::int[], $7::timestamptz[], $8::bool[],
            $9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[],
            $15::text[], $16::int[], $17::int[], $18::timestamptz[], $19::bool[])
  AS q(id, state, attempt, publish, failures, crashes, due_at, cancel_requested, deadline, dead_reason,
       failure_code, failure_message, ended_at, ended_late, was_state, was_attempt, was_publish, was_due_at,
       was_cancel_requested)
WHERE j.id = q.id AND j.state = q.was_state AND j.attempt = q.was_attempt AND j.publish = q.was_publish
  AND j.due_at IS NOT DISTINCT FROM q.was_due_at AND j.cancel_requested = q.was_cancel_requested
RETURNING j.id
