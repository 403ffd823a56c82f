-- A write that is really made: a full or read-only server shows here.
INSERT INTO health (checked_at) VALUES ($1) ON CONFLICT (one) DO UPDATE SET checked_at = excluded.checked_at
