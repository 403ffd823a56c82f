-- The next jobs of a lane, the oldest first: as many entries of the index as asked for, however many jobs wait.
SELECT id, tenant, lane, template, business_area
FROM jobs INDEXED BY jobs_place WHERE state = 'queued' AND lane = ?1
ORDER BY n LIMIT ?2
