-- Schedules of the tenant by name.
SELECT id, tenant, name, cron, zone, missed, job, paused, next_at, last_at
FROM schedules WHERE tenant = $1 ORDER BY name
