-- Both sides of the equation in one statement, hence one view: the number accepted, kept on its own,
-- and the jobs by state, counted.
SELECT t.name AS tenant, t.accepted, j.state, j.n
FROM tenants t
LEFT JOIN (SELECT tenant, state, count(*) AS n FROM jobs GROUP BY tenant, state) j ON j.tenant = t.name
UNION ALL
-- Jobs of a tenant that was never counted would hide from the join above.
SELECT j.tenant, 0, j.state, count(*) FROM jobs j
WHERE NOT EXISTS (SELECT 1 FROM tenants t WHERE t.name = j.tenant)
GROUP BY j.tenant, j.state
