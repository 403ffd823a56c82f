-- Gives out leases, and counts them. A row that is no longer what the decision was made on is left alone and
-- not returned; that its watch is written all the same does no harm.
WITH watched AS (
    INSERT INTO watches (look_at, jobs)
    SELECT w.look_at, ($11::uuid[])[w.first:w.last]
    FROM unnest($8::timestamptz[], $9::int[], $10::int[]) AS w(look_at, first, last)
), begun AS (
    UPDATE jobs j SET state = 'running', attempt = q.attempt, due_at = q.due_at, worker = q.worker, started_at = $7
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::timestamptz[], $5::timestamptz[], $6::text[])
      AS q(id, attempt, publish, was_due_at, due_at, worker)
    WHERE j.id = q.id AND j.state = 'queued' AND j.attempt = q.attempt - 1 AND j.publish = q.publish
      AND j.due_at IS NOT DISTINCT FROM q.was_due_at
    RETURNING j.id, j.tenant, j.lane
), counted AS (
    INSERT INTO loads AS l (tenant, lane, shard, queued, running)
    SELECT b.tenant, b.lane, $12, -count(*), count(*) FROM begun b GROUP BY b.tenant, b.lane ORDER BY b.tenant, b.lane
    ON CONFLICT (tenant, lane, shard) DO UPDATE
    SET queued = l.queued + excluded.queued, running = l.running + excluded.running
)
SELECT coalesce(array_agg(id), '{}') FROM begun
