-- Claims fires; those somebody has made before are not returned.
INSERT INTO fires (schedule, fire_at) SELECT $1, f.fire_at FROM unnest($2::timestamptz[]) AS f(fire_at)
ON CONFLICT DO NOTHING
RETURNING fire_at
