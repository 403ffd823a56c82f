-- Queued jobs of the same lane that were accepted before this one. No row when it is not queued.
SELECT (
    SELECT count(*) FROM jobs o
    WHERE o.state = 'queued' AND o.lane = j.lane AND (o.accepted_at, o.id) < (j.accepted_at, j.id)
) AS place
FROM jobs j WHERE j.id = ?1 AND j.state = 'queued'
