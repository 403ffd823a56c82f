-- The job that holds what a new one (id ?1, tenant ?2, key ?3, dedup digest ?4) wanted: the id itself
-- first, then the key, then an open job of the same content.
SELECT id, tenant, state, digest, rank FROM (
    SELECT id, tenant, state, digest, 1 AS rank FROM jobs WHERE id = ?1
    UNION ALL
    SELECT id, tenant, state, digest, 2 FROM jobs WHERE tenant = ?2 AND idempotency_key = ?3
    UNION ALL
    SELECT id, tenant, state, digest, 3 FROM jobs
    WHERE tenant = ?2 AND dedup_digest = ?4 AND dedup_digest IS NOT NULL
      AND state IN ('waiting', 'queued', 'running')
)
ORDER BY rank LIMIT 1
