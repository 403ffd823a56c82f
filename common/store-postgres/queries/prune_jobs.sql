-- Jobs that have ended, behind everything that belongs to them.
DELETE FROM jobs WHERE id = ANY($1) AND ended_at IS NOT NULL
