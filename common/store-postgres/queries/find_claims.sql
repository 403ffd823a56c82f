-- For each new job the one that holds what it wanted: the id itself first, then the key, then an open
-- job of the same content. No row for a job whose rival has gone in the meantime.
SELECT q.place, c.id, c.tenant, c.state, c.digest, c.accepted_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])
  WITH ORDINALITY AS q(id, tenant, idempotency_key, open_digest, place)
CROSS JOIN LATERAL (
    SELECT j.id, j.tenant, j.state, j.digest, j.accepted_at, 1 AS rank FROM jobs j WHERE j.id = q.id
    UNION ALL
    SELECT j.id, j.tenant, j.state, j.digest, j.accepted_at, 2 FROM jobs j
    WHERE j.tenant = q.tenant AND j.idempotency_key = q.idempotency_key
    UNION ALL
    SELECT j.id, j.tenant, j.state, j.digest, j.accepted_at, 3 FROM jobs j
    WHERE j.tenant = q.tenant AND j.open_digest = q.open_digest
    ORDER BY rank LIMIT 1
) c
