-- Queued jobs of the same lane that were accepted before this one. No row when it is not queued.
SELECT (
    SELECT count(*) FROM jobs o INDEXED BY jobs_place
    WHERE o.state = 'queued' AND o.lane = j.lane AND o.n < j.n
) AS place
FROM jobs j WHERE j.id = ?1 AND j.state = 'queued'
