-- Claims a fire; no row is written when somebody has made it before.
INSERT INTO fires (schedule, fire_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING
