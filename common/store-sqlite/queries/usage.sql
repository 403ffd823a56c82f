-- Cost of the tenant's completed jobs by template and area.
SELECT j.template, j.business_area, count(*) AS jobs, sum(r.prompt_tokens) AS prompt_tokens,
       sum(r.cached_tokens) AS cached_tokens, sum(r.output_tokens) AS output_tokens, total(r.total_ms) AS total_ms
FROM jobs j JOIN results r ON r.job = j.id
WHERE j.tenant = ?1 AND j.state = 'completed' AND j.ended_at >= ?2
GROUP BY j.template, j.business_area
ORDER BY j.template, j.business_area
