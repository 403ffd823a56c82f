-- Which tenants have jobs parked, and in which lanes: a look into the index for each, however many jobs there are.
WITH RECURSIVE tenants(tenant) AS (
    SELECT min(tenant) FROM jobs INDEXED BY jobs_parked WHERE parked IS NOT NULL
    UNION ALL
    SELECT (SELECT min(j.tenant) FROM jobs j INDEXED BY jobs_parked WHERE j.parked IS NOT NULL AND j.tenant > t.tenant)
    FROM tenants t WHERE t.tenant IS NOT NULL
)
SELECT t.tenant AS tenant, v.column1 AS lane
FROM tenants t CROSS JOIN (VALUES (0), (1), (2), (3)) v
WHERE t.tenant IS NOT NULL AND EXISTS (
    SELECT 1 FROM jobs j INDEXED BY jobs_parked
    WHERE j.parked IS NOT NULL AND j.tenant = t.tenant AND j.lane = v.column1
)
LIMIT ?1
