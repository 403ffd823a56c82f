-- Cost of the tenant's completed jobs by template and area.
SELECT template, business_area, count(*) AS jobs, sum(prompt_tokens) AS prompt_tokens,
       sum(cached_tokens) AS cached_tokens, sum(output_tokens) AS output_tokens, total(total_ms) AS total_ms,
       CAST(total(json_extract(receipt, '$.host_tokens')) AS INTEGER) AS host_tokens,
       CAST(total(json_extract(receipt, '$.disk_tokens')) AS INTEGER) AS disk_tokens,
       CAST(total(json_extract(receipt, '$.remote_tokens')) AS INTEGER) AS remote_tokens,
       CAST(total(json_extract(receipt, '$.attached')) AS INTEGER) AS attached,
       CAST(total(json_extract(receipt, '$.preemptions')) AS INTEGER) AS preemptions,
       CAST(total(json_extract(receipt, '$.recomputed_tokens')) AS INTEGER) AS recomputed_tokens
FROM jobs
WHERE tenant = ?1 AND state = 'completed' AND ended_at >= ?2
GROUP BY template, business_area
ORDER BY template, business_area
