-- Stops firing.
UPDATE schedules SET paused = true WHERE tenant = $1 AND id = $2
