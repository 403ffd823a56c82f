-- Failure texts may quote what was asked for.
UPDATE attempts SET failure_message = '' WHERE tenant = $1 AND job = $2 AND failure_message IS NOT NULL
