-- What stands before a job that is queued or parked; no row for others.
SELECT j.tenant AS tenant,
    CASE WHEN j.state = 'queued' THEN (
        SELECT count(*) FROM jobs o INDEXED BY jobs_place
        WHERE o.state = 'queued' AND o.lane = j.lane AND o.n < j.n
    ) END AS before,
    CASE WHEN j.parked IS NOT NULL THEN (
        SELECT count(*) FROM jobs o INDEXED BY jobs_parked
        WHERE o.parked IS NOT NULL AND o.tenant = j.tenant AND o.lane = j.lane AND o.n < j.n
    ) END AS parked_before,
    (SELECT coalesce(sum(l.queued), 0) FROM loads l WHERE l.lane = j.lane) AS lane_queued
FROM jobs j WHERE j.id = ?1 AND (j.state = 'queued' OR j.parked IS NOT NULL)
