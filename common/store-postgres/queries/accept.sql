-- New jobs that claim nothing anybody else could hold (no idempotency key, no dedup), the watches of
-- their due times (see add_watches.sql), and their count: one statement, one commit. An id that exists
-- makes it fail as a whole; then accept_careful.sql finds out which.
WITH new AS (
    INSERT INTO jobs (id, tenant, template, business_area, lane, source, digest, accepted_at, state, attempt,
        publish, failures, crashes, max_attempts, due_at, deadline, body)
    SELECT q.id, q.tenant, q.template, q.business_area, q.lane, q.source, q.digest, $14, q.state, 0,
        q.publish, 0, 0, q.max_attempts, q.due_at, q.deadline, q.body
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::bytea[],
                $8::text[], $9::int[], $10::int[], $11::timestamptz[], $12::timestamptz[], $13::text[])
      AS q(id, tenant, template, business_area, lane, source, digest, state, publish, max_attempts, due_at,
           deadline, body)
), watched AS (
    INSERT INTO watches (look_at, jobs)
    SELECT w.look_at, ($18::uuid[])[w.first:w.last]
    FROM unnest($15::timestamptz[], $16::int[], $17::int[]) AS w(look_at, first, last)
)
INSERT INTO accepted AS a (tenant, shard, jobs)
SELECT c.tenant, $21, c.jobs FROM unnest($19::text[], $20::bigint[]) AS c(tenant, jobs)
ON CONFLICT (tenant, shard) DO UPDATE SET jobs = a.jobs + excluded.jobs
