-- Everything about a job of the tenant but its earlier attempts and documents.
SELECT j.id, j.template, j.business_area, j.lane, j.source, j.accepted_at, j.started_at, j.ended_at, j.state,
       j.attempt, j.publish, j.failures, j.crashes, j.max_attempts, j.due_at, j.cancel_requested, j.deadline,
       j.dead_reason, j.failure_message, j.worker, p.body, j.title, j.findings, j.model, j.prompt_tokens,
       j.cached_tokens, j.output_tokens, j.generate_ms, j.write_ms, j.total_ms, j.receipt, j.parked
FROM jobs j
LEFT JOIN payloads p ON p.job = j.id
WHERE j.id = ?2 AND j.tenant = ?1
