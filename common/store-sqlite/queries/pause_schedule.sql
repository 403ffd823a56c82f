-- Stops firing.
UPDATE schedules SET paused = 1 WHERE tenant = ?1 AND id = ?2
