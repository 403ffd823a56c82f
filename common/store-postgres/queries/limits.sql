-- Limits that single tenants have of their own; of one tenant, or of all.
SELECT tenant, running_max, queued_max, tokens_per_minute, tokens_per_day FROM tenant_limits
WHERE $1::text IS NULL OR tenant = $1
