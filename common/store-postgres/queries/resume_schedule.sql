-- Fires again from $3 on.
UPDATE schedules SET paused = false, next_at = $3 WHERE tenant = $1 AND id = $2
