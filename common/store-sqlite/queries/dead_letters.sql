-- Dead letters of the tenant, oldest first. Each condition is off when its parameter is NULL.
SELECT j.id, j.tenant, j.dead_reason, j.failure_code, j.failure_message, j.attempt, j.ended_at, j.template,
       p.body, length(p.raw) AS raw_bytes, substr(p.raw, 1, ?9) AS raw_head
FROM jobs j LEFT JOIN payloads p ON p.job = j.id
WHERE j.tenant = ?1 AND j.state = 'dead' AND j.purged_at IS NULL
  AND (?2 IS NULL OR j.id IN (SELECT unhex(value) FROM json_each(?2)))
  AND (?3 IS NULL OR j.dead_reason = ?3)
  AND (?4 IS NULL OR j.failure_code = ?4)
  AND (?5 IS NULL OR j.template = ?5)
  AND (?6 IS NULL OR j.ended_at >= ?6)
  AND (?7 IS NULL OR j.id > ?7)
ORDER BY j.id LIMIT ?8
