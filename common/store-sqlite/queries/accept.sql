-- New jobs. One whose id, idempotency key or dedup digest is taken is left out without an error, and so
-- is a row without values.
INSERT OR IGNORE INTO jobs (
    id, tenant, template, business_area, lane, source, idempotency_key, digest, dedup_digest, accepted_at,
    state, attempt, publish, failures, crashes, max_attempts, due_at, cancel_requested, deadline, parked
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, 0, ?, ?, 0, ?, ?)...
