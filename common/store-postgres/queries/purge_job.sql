-- The row stays dead in the ledger, without words and without what was asked for.
UPDATE jobs SET purged_at = $3, failure_message = NULL, body = NULL, raw = NULL
WHERE tenant = $1 AND id = $2 AND state = 'dead' AND purged_at IS NULL
