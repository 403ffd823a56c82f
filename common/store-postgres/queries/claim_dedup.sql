-- A letter that runs again wants to be joined again, unless a newer open job of the same content is.
UPDATE jobs j SET open_digest = $3
WHERE j.tenant = $1 AND j.id = $2 AND j.ended_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.tenant = $1 AND o.open_digest = $3)
