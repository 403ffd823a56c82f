-- Everything the broker held is due now; take_due gives it a new publication.
UPDATE jobs SET due_at = ?1
WHERE state = 'queued' AND (due_at IS NULL OR due_at > ?1)
