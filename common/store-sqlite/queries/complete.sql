-- Completes attempts (id, attempt, end, title, findings, model, tokens, times, receipt). For the plus see begin.sql.
UPDATE jobs SET state = 'completed', due_at = NULL, failure_code = NULL, failure_message = NULL,
    ended_at = v.column3, title = v.column4, findings = v.column5, model = v.column6,
    prompt_tokens = v.column7, cached_tokens = v.column8, output_tokens = v.column9,
    generate_ms = v.column10, write_ms = v.column11, total_ms = v.column12, receipt = v.column13
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)...) v
WHERE jobs.id = v.column1 AND +jobs.state = 'running' AND +jobs.attempt = v.column2
