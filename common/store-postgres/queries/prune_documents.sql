-- The documents of jobs.
DELETE FROM documents WHERE job = ANY($1)
