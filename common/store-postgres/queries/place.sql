-- Queued jobs of the same lane that came before this one, among the $2 jobs that came last before it:
-- no index leads to queued rows, and a queue has its jobs side by side. No row when it is not queued.
SELECT (
    SELECT count(*) FROM (SELECT o.state, o.lane FROM jobs o WHERE o.id < j.id ORDER BY o.id DESC LIMIT $2) o
    WHERE o.state = 'queued' AND o.lane = j.lane
)
FROM jobs j WHERE j.id = $1 AND j.state = 'queued'
