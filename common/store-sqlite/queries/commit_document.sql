-- One document of a completed job.
INSERT INTO documents (job, format, bytes) VALUES (?1, ?2, ?3)
