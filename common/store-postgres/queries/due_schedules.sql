-- Schedules of all tenants whose next fire has come.
SELECT id, tenant, name, cron, zone, missed, job, paused, next_at, last_at
FROM schedules WHERE NOT paused AND next_at <= $1
ORDER BY next_at LIMIT $2
