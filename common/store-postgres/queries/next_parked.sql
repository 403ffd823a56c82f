-- The oldest jobs parked in lanes of tenants, as many of each as it has places. Those another dispatcher has
-- in hand are left to it.
SELECT j.id, j.tenant, j.lane, j.accepted_at, j.state, j.attempt, j.publish, j.failures, j.crashes, j.max_attempts,
       j.due_at, j.cancel_requested, j.deadline, j.started_at, j.ended_at, j.worker, j.dead_reason, j.failure_code,
       j.failure_message, j.purged_at IS NOT NULL, j.parked
FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS q(tenant, lane, jobs)
CROSS JOIN LATERAL (
    SELECT * FROM jobs o WHERE o.parked IS NOT NULL AND o.tenant = q.tenant AND o.lane = q.lane
    ORDER BY o.id LIMIT q.jobs FOR UPDATE SKIP LOCKED
) j
