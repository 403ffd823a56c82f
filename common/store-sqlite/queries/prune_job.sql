-- A job that has ended, behind everything that belongs to it.
DELETE FROM jobs WHERE id = ?1 AND ended_at IS NOT NULL
