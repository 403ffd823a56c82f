-- What has become queued or running, or was, and tokens used (tenant, lane, queued, running, minute, tokens, day).
INSERT INTO loads (tenant, lane, queued, running, minute, minute_tokens, day, day_tokens)
SELECT column1, column2, column3, column4, column5, column6, column7, column6
FROM (VALUES (?, ?, ?, ?, ?, ?, ?)...) WHERE column1 IS NOT NULL
ON CONFLICT (tenant, lane) DO UPDATE SET queued = queued + excluded.queued, running = running + excluded.running,
    minute_tokens = CASE WHEN minute = excluded.minute THEN minute_tokens + excluded.minute_tokens
        WHEN minute < excluded.minute THEN excluded.minute_tokens ELSE minute_tokens END,
    minute = max(minute, excluded.minute),
    day_tokens = CASE WHEN day = excluded.day THEN day_tokens + excluded.day_tokens
        WHEN day < excluded.day THEN excluded.day_tokens ELSE day_tokens END,
    day = max(day, excluded.day)
