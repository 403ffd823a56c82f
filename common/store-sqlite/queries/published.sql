-- Confirmed publications (id, number, when to look again): what the machine does with them, for many at
-- once. Outdated ones and those whose job has begun change nothing. One that was recorded without a due
-- time, by an earlier version, keeps none.
UPDATE jobs SET due_at = max(jobs.due_at, v.column3)
FROM (VALUES (?, ?, ?)...) v
WHERE jobs.id = v.column1 AND +jobs.state = 'queued' AND +jobs.publish = v.column2
  AND +jobs.due_at IS NOT NULL
