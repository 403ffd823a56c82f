-- Jobs that are gone stay in the ledger.
INSERT INTO pruned AS p (tenant, state, jobs)
SELECT c.tenant, c.state, count(*) FROM unnest($1::text[], $2::text[]) AS c(tenant, state)
GROUP BY c.tenant, c.state ORDER BY c.tenant, c.state
ON CONFLICT (tenant, state) DO UPDATE SET jobs = p.jobs + excluded.jobs
