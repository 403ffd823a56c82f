-- Everything the broker held is due now; take_due gives it a new publication. Announced in watches of
-- at most $2 jobs. Reads the whole table: for a broker that has forgotten everything.
WITH due AS (
    UPDATE jobs SET due_at = $1
    WHERE state = 'queued' AND (due_at IS NULL OR due_at > $1)
    RETURNING id
)
INSERT INTO watches (look_at, jobs)
SELECT $1, array_agg(n.id) FROM (SELECT id, row_number() OVER () / $2 AS part FROM due) n GROUP BY n.part
