-- Everything the broker held is due now; take_due gives it a new publication. The number it had is used
-- up: a confirmation that is still under way is about a message that is lost. Announced in watches of at
-- most $2 jobs. Reads the whole table: for a broker that has forgotten everything.
WITH due AS (
    UPDATE jobs SET due_at = least(due_at, $1), publish = publish + 1
    WHERE state = 'queued'
    RETURNING id
), watched AS (
    INSERT INTO watches (look_at, jobs)
    SELECT $1, array_agg(n.id) FROM (SELECT id, row_number() OVER () / $2 AS part FROM due) n GROUP BY n.part
)
SELECT count(*) FROM due
