-- What stands before a job that is queued or parked; no row for others. Before a queued one: queued jobs of the
-- same lane among the $2 jobs that came last before it, since no index leads to queued rows, and a queue has
-- its jobs side by side. Before a parked one: jobs of its tenant parked in its lane, $2 at most.
SELECT j.tenant,
    CASE WHEN j.state = 'queued' THEN (
        SELECT count(*) FROM (SELECT o.state, o.lane FROM jobs o WHERE o.id < j.id ORDER BY o.id DESC LIMIT $2) o
        WHERE o.state = 'queued' AND o.lane = j.lane
    ) END,
    CASE WHEN j.parked IS NOT NULL THEN (
        SELECT count(*) FROM (
            SELECT FROM jobs o WHERE o.parked IS NOT NULL AND o.tenant = j.tenant AND o.lane = j.lane AND o.id < j.id
            LIMIT $2
        ) o
    ) END,
    (SELECT coalesce(sum(l.queued), 0)::bigint FROM loads l WHERE l.lane = j.lane)
FROM jobs j WHERE j.id = $1 AND (j.state = 'queued' OR j.parked IS NOT NULL)
