-- Writes transitions of any kind, provided the rows are still what was decided on (columns 16 to 18). The
-- transaction holds the only write lock, so that is belt and braces.
UPDATE jobs SET state = v.column2, attempt = v.column3, publish = v.column4, failures = v.column5,
    crashes = v.column6, due_at = v.column7, cancel_requested = v.column8, deadline = v.column9,
    dead_reason = v.column10, failure_code = v.column11, failure_message = v.column12, ended_at = v.column13,
    worker = v.column14, started_at = v.column15, parked = v.column19
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)...) v
WHERE jobs.id = v.column1 AND +jobs.state = v.column16 AND +jobs.attempt = v.column17
  AND +jobs.publish = v.column18
