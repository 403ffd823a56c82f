-- The jobs that hold what new ones (place, id, tenant, key, dedup digest) wanted: the id itself first,
-- then the key, then an open job of the same content.
SELECT v.column1 AS place, j.id, j.tenant, j.state, j.digest
FROM (VALUES (?, ?, ?, ?, ?)...) v
CROSS JOIN jobs j ON j.id = coalesce(
    (SELECT id FROM jobs WHERE id = v.column2),
    (SELECT id FROM jobs WHERE tenant = v.column3 AND idempotency_key = v.column4),
    (SELECT id FROM jobs
     WHERE tenant = v.column3 AND dedup_digest = v.column5 AND dedup_digest IS NOT NULL
       AND state IN ('waiting', 'queued', 'running'))
)
