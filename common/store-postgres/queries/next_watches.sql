-- The earliest watches with the due times their jobs have now. Few and small ones only: with many jobs
-- the time of the watch is answer enough.
SELECT w.look_at, (
    SELECT min(j.due_at) FROM jobs j WHERE cardinality(w.jobs) <= $2 AND j.id = ANY(w.jobs)
) AS due_at, cardinality(w.jobs) <= $2 AS exact
FROM (SELECT look_at, jobs FROM watches ORDER BY look_at LIMIT $1) w
ORDER BY w.look_at
