-- What was accepted, in the transaction that accepts and as its last statement, since the rows stay locked until
-- the commit: queued jobs by tenant and lane, and the independent side of the ledger equation.
WITH queued AS (
    INSERT INTO loads AS l (tenant, lane, shard, queued, running)
    SELECT c.tenant, c.lane, $6, c.jobs, 0
    FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS c(tenant, lane, jobs)
    ON CONFLICT (tenant, lane, shard) DO UPDATE SET queued = l.queued + excluded.queued
)
INSERT INTO accepted AS a (tenant, shard, jobs)
SELECT c.tenant, $6, c.jobs FROM unnest($4::text[], $5::bigint[]) AS c(tenant, jobs)
ON CONFLICT (tenant, shard) DO UPDATE SET jobs = a.jobs + excluded.jobs
