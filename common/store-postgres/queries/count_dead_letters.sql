-- How many rows dead_letters.sql would give without its limit.
SELECT count(*) FROM jobs
WHERE tenant = $1 AND dead_reason IS NOT NULL AND purged_at IS NULL
  AND ($2::uuid[] IS NULL OR id = ANY($2))
  AND ($3::text IS NULL OR dead_reason = $3)
  AND ($4::text IS NULL OR failure_code = $4)
  AND ($5::text IS NULL OR template = $5)
  AND ($6::timestamptz IS NULL OR ended_at >= $6)
  AND ($7::uuid IS NULL OR id > $7)
