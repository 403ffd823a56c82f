-- Records attempts that ended without a result.
INSERT INTO attempts (job, attempt, tenant, worker, started_at, ended_at, outcome, failure_class, failure_code,
    failure_message, retry_after_ms)
SELECT q.job, q.attempt, q.tenant, q.worker, q.started_at, $6, q.outcome, q.failure_class, q.failure_code,
    q.failure_message, q.retry_after_ms
FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::timestamptz[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::bigint[])
  AS q(job, attempt, tenant, worker, started_at, outcome, failure_class, failure_code, failure_message,
       retry_after_ms)
