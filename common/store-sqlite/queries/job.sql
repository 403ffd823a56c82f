-- Everything about a job of the tenant but its attempts and documents.
SELECT j.id, j.template, j.business_area, j.lane, j.source, j.accepted_at, j.ended_at, j.state, j.attempt,
       j.publish, j.failures, j.crashes, j.max_attempts, j.due_at, j.cancel_requested, j.deadline,
       j.dead_reason, j.failure_message, p.body, r.title, r.findings, r.model, r.prompt_tokens,
       r.cached_tokens, r.output_tokens, r.generate_ms, r.write_ms, r.total_ms
FROM jobs j
LEFT JOIN payloads p ON p.job = j.id
LEFT JOIN results r ON r.job = j.id
WHERE j.id = ?2 AND j.tenant = ?1
