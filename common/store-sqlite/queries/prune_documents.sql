-- The documents of a job.
DELETE FROM documents WHERE job = ?1
