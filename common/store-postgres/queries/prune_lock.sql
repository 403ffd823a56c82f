-- Those of them that seem to go, held: a dead letter may be replayed at this very moment.
SELECT id, tenant, state, ended_at FROM jobs WHERE id = ANY($1) AND ended_at IS NOT NULL ORDER BY id FOR UPDATE
