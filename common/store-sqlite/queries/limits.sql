-- Limits that single tenants have of their own.
SELECT tenant, running_max, queued_max, tokens_per_minute, tokens_per_day FROM tenant_limits
