-- Jobs of the tenant, newest first. ?2: JSON array of states or NULL, ?3: template or NULL, ?4: only
-- before this id, or NULL.
SELECT j.id, j.template, j.business_area, j.lane, j.accepted_at, j.ended_at, j.state, j.attempt, j.due_at,
       j.dead_reason, j.failure_message, j.title
FROM jobs j
WHERE j.tenant = ?1
  AND (?2 IS NULL OR j.state IN (SELECT value FROM json_each(?2)))
  AND (?3 IS NULL OR j.template = ?3)
  AND (?4 IS NULL OR j.id < ?4)
ORDER BY j.id DESC LIMIT ?5
