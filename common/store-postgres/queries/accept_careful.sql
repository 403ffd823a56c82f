-- New jobs, without those whose id, idempotency key or dedup digest is taken: find_claims.sql tells by
-- whom. Returns the ids that are new.
INSERT INTO jobs (id, tenant, template, business_area, lane, source, digest, accepted_at, state, attempt,
    publish, failures, crashes, max_attempts, due_at, deadline, body, parked, idempotency_key, open_digest)
SELECT q.id, q.tenant, q.template, q.business_area, q.lane, q.source, q.digest, $14, q.state, 0,
    q.publish, 0, 0, q.max_attempts, q.due_at, q.deadline, q.body, q.parked, q.idempotency_key, q.open_digest
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::bytea[],
            $8::text[], $9::int[], $10::int[], $11::timestamptz[], $12::timestamptz[], $13::text[],
            $15::text[], $16::text[], $17::bytea[])
  AS q(id, tenant, template, business_area, lane, source, digest, state, publish, max_attempts, due_at,
       deadline, body, parked, idempotency_key, open_digest)
ON CONFLICT DO NOTHING
RETURNING id
