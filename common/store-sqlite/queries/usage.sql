-- Cost of the tenant's completed jobs by template and area.
SELECT template, business_area, count(*) AS jobs, sum(prompt_tokens) AS prompt_tokens,
       sum(cached_tokens) AS cached_tokens, sum(output_tokens) AS output_tokens, total(total_ms) AS total_ms
FROM jobs
WHERE tenant = ?1 AND state = 'completed' AND ended_at >= ?2
GROUP BY template, business_area
ORDER BY template, business_area
