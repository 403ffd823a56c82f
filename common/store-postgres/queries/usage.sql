-- Cost of the tenant's jobs completed since $2, by template and area. No index has the end of every
-- job. What ended since then either carries an id of at most a day before ($3), or is in jobs_late.
SELECT template, business_area, count(*), sum(prompt_tokens)::bigint, sum(cached_tokens)::bigint,
    sum(output_tokens)::bigint, sum(total_ms),
    coalesce(least(sum((receipt ->> 'host_tokens')::numeric), 9223372036854775807), 0)::bigint,
    coalesce(least(sum((receipt ->> 'disk_tokens')::numeric), 9223372036854775807), 0)::bigint,
    coalesce(least(sum((receipt ->> 'remote_tokens')::numeric), 9223372036854775807), 0)::bigint,
    coalesce(least(sum((receipt ->> 'attached')::numeric), 9223372036854775807), 0)::bigint,
    coalesce(least(sum((receipt ->> 'preemptions')::numeric), 9223372036854775807), 0)::bigint,
    coalesce(least(sum((receipt ->> 'recomputed_tokens')::numeric), 9223372036854775807), 0)::bigint
FROM (
    SELECT template, business_area, prompt_tokens, cached_tokens, output_tokens, total_ms, receipt::jsonb AS receipt,
        state, ended_at
    FROM jobs WHERE tenant = $1 AND id >= $3 AND ended_late IS NULL
    UNION ALL
    SELECT template, business_area, prompt_tokens, cached_tokens, output_tokens, total_ms, receipt::jsonb AS receipt,
        state, ended_at
    FROM jobs WHERE tenant = $1 AND ended_late >= $2
) j
WHERE state = 'completed' AND ended_at >= $2
GROUP BY template, business_area
ORDER BY template, business_area
