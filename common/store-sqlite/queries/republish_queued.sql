-- Everything the broker held is due now; take_due gives it a new publication. The number of rows is the
-- answer, hence those that are due already are written, too.
UPDATE jobs SET due_at = min(coalesce(due_at, ?1), ?1)
WHERE state = 'queued'
