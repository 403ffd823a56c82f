-- The next jobs by their ids, for their fate.
SELECT id, state, accepted_at, ended_at FROM jobs WHERE id > $1 ORDER BY id LIMIT $2
