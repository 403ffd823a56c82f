-- Everything the broker held is due now; take_due gives it a new publication. The number it had is used up:
-- a confirmation that is still under way is about a message that is lost. The number of rows is the answer,
-- hence those that are due already are written, too.
UPDATE jobs SET due_at = min(coalesce(due_at, ?1), ?1), publish = publish + 1
WHERE state = 'queued'
