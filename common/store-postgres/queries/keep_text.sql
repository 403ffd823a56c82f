-- A finished text of a job, unless its request has one or the job has as many as may be ($6).
INSERT INTO kept_texts (job, tenant, request, prompt_tokens, body)
SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM kept_texts WHERE job = $1) < $6
ON CONFLICT (job, request) DO NOTHING
