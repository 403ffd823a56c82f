-- Ends jobs with their results, fenced by the attempt; keeps the documents of those it has ended; and counts them and
-- their tokens in the minute ($16) and day ($17) of their end. One statement, one commit. The CASE keeps the server from
-- making a join of IN, which would compare each document with each job: it looks into a hash table instead.
WITH done AS (
    UPDATE jobs j SET state = 'completed', due_at = NULL, ended_at = $2, ended_late = q.ended_late,
        open_digest = NULL, failure_code = NULL, failure_message = NULL, title = q.title, findings = q.findings,
        model = q.model, prompt_tokens = q.prompt_tokens, cached_tokens = q.cached_tokens,
        output_tokens = q.output_tokens, generate_ms = q.generate_ms, write_ms = q.write_ms, total_ms = q.total_ms,
        receipt = q.receipt
    FROM unnest($1::uuid[], $3::int[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::bigint[],
                $9::bigint[], $10::bigint[], $11::float8[], $12::float8[], $13::float8[], $14::bigint[], $22::text[])
      AS q(id, attempt, ended_late, title, findings, model, prompt_tokens, cached_tokens, output_tokens,
           generate_ms, write_ms, total_ms, tokens, receipt)
    WHERE j.id = q.id AND j.state = 'running' AND j.attempt = q.attempt
    RETURNING j.id, j.tenant, j.lane, q.tokens
), kept AS (
    INSERT INTO documents (job, tenant, format, bytes)
    SELECT d.job, d.tenant, d.format, d.bytes
    FROM unnest($18::uuid[], $19::text[], $20::text[], $21::bytea[]) AS d(job, tenant, format, bytes)
    WHERE CASE WHEN d.job IN (SELECT id FROM done) THEN true ELSE false END
), counted AS (
    INSERT INTO loads AS l (tenant, lane, shard, queued, running, minute, minute_tokens, day, day_tokens)
    SELECT d.tenant, d.lane, $15, 0, -count(*), $16, sum(d.tokens), $17, sum(d.tokens)
    FROM done d GROUP BY d.tenant, d.lane ORDER BY d.tenant, d.lane
    ON CONFLICT (tenant, lane, shard) DO UPDATE SET running = l.running + excluded.running,
        minute_tokens = CASE WHEN l.minute = excluded.minute THEN l.minute_tokens + excluded.minute_tokens
            WHEN l.minute < excluded.minute THEN excluded.minute_tokens ELSE l.minute_tokens END,
        minute = greatest(l.minute, excluded.minute),
        day_tokens = CASE WHEN l.day = excluded.day THEN l.day_tokens + excluded.day_tokens
            WHEN l.day < excluded.day THEN excluded.day_tokens ELSE l.day_tokens END,
        day = greatest(l.day, excluded.day)
)
SELECT coalesce(array_agg(id), '{}') FROM done
