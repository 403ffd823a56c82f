-- Writes a transition, provided the row is still what the decision was made on (?14 to ?16). The
-- transaction holds the only write lock, so that is belt and braces.
UPDATE jobs SET
    state = ?2, attempt = ?3, publish = ?4, failures = ?5, crashes = ?6, due_at = ?7,
    cancel_requested = ?8, deadline = ?9, dead_reason = ?10, failure_code = ?11, failure_message = ?12,
    ended_at = ?13
WHERE id = ?1 AND state = ?14 AND attempt = ?15 AND publish = ?16
