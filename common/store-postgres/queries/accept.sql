-- New jobs that claim nothing anybody else could hold (no idempotency key, no dedup), the watches of
-- their due times (see add_watches.sql), and their counts: one statement, one commit. An id that exists
-- makes it fail as a whole; then accept_careful.sql finds out which.
WITH new AS (
    INSERT INTO jobs (id, tenant, template, business_area, lane, source, digest, accepted_at, state, attempt,
        publish, failures, crashes, max_attempts, due_at, deadline, body, parked)
    SELECT q.id, q.tenant, q.template, q.business_area, q.lane, q.source, q.digest, $14, q.state, 0,
        q.publish, 0, 0, q.max_attempts, q.due_at, q.deadline, q.body, q.parked
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::bytea[],
                $8::text[], $9::int[], $10::int[], $11::timestamptz[], $12::timestamptz[], $13::text[],
                $15::text[])
      AS q(id, tenant, template, business_area, lane, source, digest, state, publish, max_attempts, due_at,
           deadline, body, parked)
), watched AS (
    INSERT INTO watches (look_at, jobs)
    SELECT w.look_at, ($19::uuid[])[w.first:w.last]
    FROM unnest($16::timestamptz[], $17::int[], $18::int[]) AS w(look_at, first, last)
), queued AS (
    INSERT INTO loads AS l (tenant, lane, shard, queued, running)
    SELECT c.tenant, c.lane, $25, c.jobs, 0
    FROM unnest($20::text[], $21::smallint[], $22::bigint[]) AS c(tenant, lane, jobs)
    ON CONFLICT (tenant, lane, shard) DO UPDATE SET queued = l.queued + excluded.queued
)
INSERT INTO accepted AS a (tenant, shard, jobs)
SELECT c.tenant, $25, c.jobs FROM unnest($23::text[], $24::bigint[]) AS c(tenant, jobs)
ON CONFLICT (tenant, shard) DO UPDATE SET jobs = a.jobs + excluded.jobs
