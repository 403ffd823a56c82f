-- Begins attempts (id, attempt, due, worker, start). The plus keeps SQLite from walking through an index
-- of all queued jobs: it shall look up each id.
UPDATE jobs SET state = 'running', attempt = v.column2, due_at = v.column3, worker = v.column4,
    started_at = v.column5
FROM (VALUES (?, ?, ?, ?, ?)...) v
WHERE jobs.id = v.column1 AND +jobs.state = 'queued' AND +jobs.attempt = v.column2 - 1
