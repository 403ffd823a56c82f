-- The edited job decides how the letter runs next. Its idempotency key and the digest of what was
-- submitted stay: they belong to the submission.
UPDATE jobs SET template = ?2, business_area = ?3, lane = ?4, max_attempts = ?5, deadline = ?6, dedup_digest = ?7
WHERE id = ?1 AND state = 'dead' AND purged_at IS NULL
