-- What the job asks for.
INSERT INTO payloads (job, body) VALUES (?1, ?2)
