-- Formats and sizes of a job's documents.
SELECT format, length(bytes) AS size FROM documents WHERE job = ?1
