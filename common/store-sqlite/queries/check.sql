-- A write that is really made: a full or read-only disk shows here.
INSERT INTO health (one, checked_at) VALUES (1, ?1)
ON CONFLICT (one) DO UPDATE SET checked_at = excluded.checked_at
