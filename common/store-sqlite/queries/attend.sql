-- A process with workers, alive at ?2.
INSERT INTO workers (process, seen_at) VALUES (?1, ?2)
ON CONFLICT (process) DO UPDATE SET seen_at = excluded.seen_at
