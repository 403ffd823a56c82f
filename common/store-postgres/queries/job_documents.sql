-- Formats and sizes of a job's documents.
SELECT format, octet_length(bytes)::bigint FROM documents WHERE tenant = $1 AND job = $2
