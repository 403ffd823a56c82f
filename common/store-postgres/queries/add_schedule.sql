-- A new schedule; a name that exists breaks UNIQUE (tenant, name).
INSERT INTO schedules (id, tenant, name, cron, zone, missed, job, paused, next_at, last_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
