-- Writes transitions, each provided that its row is still what the decision was made on: state and
-- counters, the due time (on which the watches depend) and the wish to cancel; and counts what has become queued
-- or running by it, or was. Returns what was written.
WITH saved AS (
    UPDATE jobs j SET state = q.state, attempt = q.attempt, publish = q.publish, failures = q.failures,
        crashes = q.crashes, due_at = q.due_at, cancel_requested = q.cancel_requested, deadline = q.deadline,
        dead_reason = q.dead_reason, failure_code = q.failure_code, failure_message = q.failure_message,
        ended_at = q.ended_at, ended_late = q.ended_late, parked = q.parked,
        open_digest = CASE WHEN q.ended_at IS NULL THEN j.open_digest END
    FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::int[], $6::int[], $7::timestamptz[], $8::bool[],
                $9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[],
                $15::text[], $16::int[], $17::int[], $18::timestamptz[], $19::bool[], $20::text[])
      AS q(id, state, attempt, publish, failures, crashes, due_at, cancel_requested, deadline, dead_reason,
           failure_code, failure_message, ended_at, ended_late, was_state, was_attempt, was_publish, was_due_at,
           was_cancel_requested, parked)
    WHERE j.id = q.id AND j.state = q.was_state AND j.attempt = q.was_attempt AND j.publish = q.was_publish
      AND j.due_at IS NOT DISTINCT FROM q.was_due_at AND j.cancel_requested = q.was_cancel_requested
    RETURNING j.id, j.tenant, j.lane, q.was_state, q.state
), counted AS (
    INSERT INTO loads AS l (tenant, lane, shard, queued, running)
    SELECT s.tenant, s.lane, $21, sum((s.state = 'queued')::int - (s.was_state = 'queued')::int),
        sum((s.state = 'running')::int - (s.was_state = 'running')::int)
    FROM saved s
    WHERE s.state <> s.was_state AND (s.state IN ('queued', 'running') OR s.was_state IN ('queued', 'running'))
    GROUP BY s.tenant, s.lane ORDER BY s.tenant, s.lane
    ON CONFLICT (tenant, lane, shard) DO UPDATE
    SET queued = l.queued + excluded.queued, running = l.running + excluded.running
)
SELECT id FROM saved
