-- Failure texts may quote what was asked for.
UPDATE attempts SET failure_message = '' WHERE job = ?1 AND failure_message IS NOT NULL
