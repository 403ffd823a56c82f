-- Ends jobs with their results, fenced by the attempt.
UPDATE jobs j SET state = 'completed', due_at = NULL, ended_at = $2, ended_late = q.ended_late,
    open_digest = NULL, failure_code = NULL, failure_message = NULL, title = q.title, findings = q.findings,
    model = q.model, prompt_tokens = q.prompt_tokens, cached_tokens = q.cached_tokens,
    output_tokens = q.output_tokens, generate_ms = q.generate_ms, write_ms = q.write_ms, total_ms = q.total_ms
FROM unnest($1::uuid[], $3::int[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::float8[], $12::float8[], $13::float8[])
  AS q(id, attempt, ended_late, title, findings, model, prompt_tokens, cached_tokens, output_tokens,
       generate_ms, write_ms, total_ms)
WHERE j.id = q.id AND j.state = 'running' AND j.attempt = q.attempt
RETURNING j.id
