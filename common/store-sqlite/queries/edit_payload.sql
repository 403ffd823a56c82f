-- The edited job; raw bytes of an unreadable message stay beside it for the record.
INSERT INTO payloads (job, body) VALUES (?1, ?2)
ON CONFLICT (job) DO UPDATE SET body = excluded.body
