-- Both sides of the equation in one statement, hence one view: the number accepted, kept on its own,
-- and the jobs by state, counted, with those that are gone. A tenant that stands on one side only is in, too.
SELECT coalesce(a.tenant, j.tenant), coalesce(a.jobs, 0), j.state, j.n
FROM (SELECT tenant, sum(jobs)::bigint AS jobs FROM accepted GROUP BY tenant) a
FULL JOIN (
    SELECT tenant, state, count(*) AS n FROM jobs GROUP BY tenant, state
    UNION ALL
    SELECT tenant, state, jobs FROM pruned
) j ON j.tenant = a.tenant
