-- How many rows dead_letters.sql would give without its limit.
SELECT count(*) FROM jobs j
WHERE j.tenant = ?1 AND j.state = 'dead' AND j.purged_at IS NULL
  AND (?2 IS NULL OR j.id IN (SELECT unhex(value) FROM json_each(?2)))
  AND (?3 IS NULL OR j.dead_reason = ?3)
  AND (?4 IS NULL OR j.failure_code = ?4)
  AND (?5 IS NULL OR j.template = ?5)
  AND (?6 IS NULL OR j.ended_at >= ?6)
  AND (?7 IS NULL OR j.id > ?7)
