-- Confirmed publications (id, number): what the machine does with them, for many at once. Outdated ones
-- and those whose job has begun change nothing.
UPDATE jobs SET due_at = NULL
FROM (VALUES (?, ?)...) v
WHERE jobs.id = v.column1 AND +jobs.state = 'queued' AND +jobs.publish = v.column2
  AND +jobs.due_at IS NOT NULL
