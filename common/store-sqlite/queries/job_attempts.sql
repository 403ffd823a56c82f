-- Attempts of a job that ended without a result, oldest first.
SELECT attempt, worker, started_at, ended_at, outcome, failure_class, failure_code, failure_message, retry_after_ms
FROM attempts WHERE job = ?1 ORDER BY attempt
