-- Everything about a job of the tenant but its attempts and documents.
SELECT id, template, business_area, lane, accepted_at, ended_at, state, attempt, due_at, dead_reason,
    failure_message, title, source, publish, failures, crashes, max_attempts, cancel_requested, deadline, body,
    findings, model, prompt_tokens, cached_tokens, output_tokens, generate_ms, write_ms, total_ms, worker,
    started_at, parked, receipt
FROM jobs WHERE tenant = $1 AND id = $2
