-- One document of a job of the tenant.
SELECT bytes FROM documents WHERE tenant = $1 AND job = $2 AND format = $3
