-- What tenants have at work, and whether jobs of theirs are parked: a row per tenant and lane. ?1: JSON array of
-- tenants; ?2 and ?3: the running minute and day.
SELECT t.value AS tenant, v.column1 AS lane, coalesce(l.queued, 0) AS queued, coalesce(l.running, 0) AS running,
    iif(l.minute = ?2, l.minute_tokens, 0) AS minute_tokens, iif(l.day = ?3, l.day_tokens, 0) AS day_tokens,
    EXISTS (SELECT 1 FROM jobs j INDEXED BY jobs_parked
            WHERE j.parked IS NOT NULL AND j.tenant = t.value AND j.lane = v.column1) AS parked
FROM json_each(?1) t
CROSS JOIN (VALUES (0), (1), (2), (3)) v
LEFT JOIN loads l ON l.tenant = t.value AND l.lane = v.column1
