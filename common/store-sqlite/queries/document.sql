-- One document of a job of the tenant.
SELECT d.bytes FROM documents d JOIN jobs j ON j.id = d.job
WHERE j.tenant = ?1 AND d.job = ?2 AND d.format = ?3
