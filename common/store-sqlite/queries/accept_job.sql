-- A new job. Any uniqueness it would break (its id, its idempotency key, its dedup digest) leaves it
-- out without an error: the row that was there first is then found by find_claim.sql.
INSERT INTO jobs (
    id, tenant, template, business_area, lane, source, idempotency_key, digest, dedup_digest, accepted_at,
    state, attempt, publish, failures, crashes, max_attempts, due_at, cancel_requested, deadline
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, ?12, 0, 0, ?13, ?14, 0, ?15)
ON CONFLICT DO NOTHING
