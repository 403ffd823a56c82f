-- Cost of the tenant's jobs completed since $2, by template and area. No index has the end of every
-- job. What ended since then either carries an id of at most a day before ($3), or is in jobs_late.
SELECT template, business_area, count(*), sum(prompt_tokens)::bigint, sum(cached_tokens)::bigint,
    sum(output_tokens)::bigint, sum(total_ms)
FROM (
    SELECT template, business_area, prompt_tokens, cached_tokens, output_tokens, total_ms, state, ended_at
    FROM jobs WHERE tenant = $1 AND id >= $3 AND ended_late IS NULL
    UNION ALL
    SELECT template, business_area, prompt_tokens, cached_tokens, output_tokens, total_ms, state, ended_at
    FROM jobs WHERE tenant = $1 AND ended_late >= $2
) j
WHERE state = 'completed' AND ended_at >= $2
GROUP BY template, business_area
ORDER BY template, business_area
