-- The bytes of an unreadable message.
INSERT INTO payloads (job, raw) VALUES (?1, ?2)
