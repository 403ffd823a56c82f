-- The same, and tells which are new: the others are then found by find_claims.sql.
INSERT OR IGNORE INTO jobs (
    id, tenant, template, business_area, lane, source, idempotency_key, digest, dedup_digest, accepted_at,
    state, attempt, publish, failures, crashes, max_attempts, due_at, cancel_requested, deadline, parked
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, 0, ?, ?, 0, ?, ?)...
RETURNING id
