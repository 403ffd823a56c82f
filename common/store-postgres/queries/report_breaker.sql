-- A breaker that is open, told at $3. One that was silent since before $4 has opened anew.
INSERT INTO breakers AS b (process, dependency, since, reported_at) VALUES ($1, $2, $3, $3)
ON CONFLICT (process, dependency) DO UPDATE SET
    since = CASE WHEN b.reported_at <= $4 THEN excluded.since ELSE b.since END,
    reported_at = excluded.reported_at
