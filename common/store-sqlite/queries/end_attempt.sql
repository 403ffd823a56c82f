-- Closes the record of an attempt, once.
UPDATE attempts SET ended_at = ?3, outcome = ?4, failure_class = ?5, failure_code = ?6,
    failure_message = ?7, retry_after_ms = ?8
WHERE job = ?1 AND attempt = ?2 AND ended_at IS NULL
