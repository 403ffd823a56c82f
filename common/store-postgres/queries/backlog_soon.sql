-- Jobs that wait for their time, of the $3 that the watches that come next tell of.
SELECT j.id, j.tenant, j.lane, j.template, j.business_area
FROM (
    SELECT DISTINCT u.id FROM (
        SELECT u.id FROM (SELECT jobs FROM watches WHERE look_at <= $1 ORDER BY look_at LIMIT $3) w
        CROSS JOIN LATERAL unnest(w.jobs[1:$3]) u(id) LIMIT $3
    ) u
) d
CROSS JOIN LATERAL (SELECT * FROM jobs o WHERE o.id = d.id) j
WHERE j.state = 'waiting' AND j.parked IS NULL AND j.due_at <= $1 AND j.lane = ANY($2)
ORDER BY j.due_at, j.id
