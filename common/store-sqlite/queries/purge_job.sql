-- The row stays dead in the ledger, without words.
UPDATE jobs SET purged_at = ?2, failure_message = NULL
WHERE id = ?1 AND state = 'dead' AND purged_at IS NULL
