-- Limits of a tenant, in place of those it had.
INSERT INTO tenant_limits (tenant, running_max, queued_max, tokens_per_minute, tokens_per_day)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant) DO UPDATE SET running_max = excluded.running_max, queued_max = excluded.queued_max,
    tokens_per_minute = excluded.tokens_per_minute, tokens_per_day = excluded.tokens_per_day
