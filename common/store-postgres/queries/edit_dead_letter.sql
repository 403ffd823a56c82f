-- The edited job decides how the letter runs next. Its idempotency key and the digest of what was
-- submitted stay: they belong to the submission; so do raw bytes of an unreadable message.
UPDATE jobs SET template = $3, business_area = $4, lane = $5, max_attempts = $6, deadline = $7, body = $8
WHERE tenant = $1 AND id = $2 AND state = 'dead' AND purged_at IS NULL
