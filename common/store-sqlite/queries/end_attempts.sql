-- The record of attempts that ended in anything but a result.
INSERT INTO attempts (job, attempt, worker, started_at, ended_at, outcome, failure_class, failure_code,
    failure_message, retry_after_ms)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)...) WHERE column1 IS NOT NULL
