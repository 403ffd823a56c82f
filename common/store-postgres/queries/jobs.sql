-- Jobs of the tenant, newest first. $2: states or NULL, $3: template or NULL, $4: only before this id,
-- or NULL.
SELECT id, template, business_area, lane, accepted_at, ended_at, state, attempt, due_at, dead_reason,
    failure_message, title
FROM jobs
WHERE tenant = $1
  AND ($2::text[] IS NULL OR state = ANY($2))
  AND ($3::text IS NULL OR template = $3)
  AND ($4::uuid IS NULL OR id < $4)
ORDER BY id DESC LIMIT $5
