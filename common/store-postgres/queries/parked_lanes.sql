-- Which tenants have jobs parked, and in which lanes, behind tenant $1: one look into the index for each,
-- however many jobs there are.
WITH RECURSIVE lanes(tenant, lane) AS (
    (SELECT j.tenant, j.lane FROM jobs j WHERE j.parked IS NOT NULL AND j.tenant > $1
     ORDER BY j.tenant, j.lane LIMIT 1)
    UNION ALL
    SELECT n.tenant, n.lane FROM lanes l CROSS JOIN LATERAL (
        SELECT j.tenant, j.lane FROM jobs j
        WHERE j.parked IS NOT NULL AND (j.tenant, j.lane) > (l.tenant, l.lane)
        ORDER BY j.tenant, j.lane LIMIT 1
    ) n
)
SELECT tenant, lane FROM lanes LIMIT $2
