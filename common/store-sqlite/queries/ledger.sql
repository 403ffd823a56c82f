-- Both sides of the equation in one statement, hence one view: the numbers accepted, kept on their own,
-- and the jobs by state, counted, with those that are gone. Each of the three counts walks through an index that holds all it
-- needs; the constraints of the table see to it that every job is in exactly one of them.
SELECT name AS tenant, NULL AS state, accepted AS n FROM tenants
UNION ALL
SELECT tenant, 'queued', count(*) FROM jobs INDEXED BY jobs_place WHERE state = 'queued' GROUP BY tenant
UNION ALL
SELECT tenant, state, count(*) FROM jobs INDEXED BY jobs_due
WHERE due_at IS NOT NULL AND state IN ('waiting', 'running') GROUP BY tenant, state
UNION ALL
SELECT tenant, state, count(*) FROM jobs INDEXED BY jobs_ended
WHERE ended_at IS NOT NULL GROUP BY tenant, state
UNION ALL
SELECT tenant, state, jobs FROM pruned
