-- The independent side of the ledger equation, in the transaction that accepts and as its last
-- statement: the row stays locked until the commit.
INSERT INTO accepted AS a (tenant, shard, jobs)
SELECT c.tenant, $3, c.jobs FROM unnest($1::text[], $2::bigint[]) AS c(tenant, jobs)
ON CONFLICT (tenant, shard) DO UPDATE SET jobs = a.jobs + excluded.jobs
