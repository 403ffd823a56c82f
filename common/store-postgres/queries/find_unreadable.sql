-- The letter of a message that is kept already.
SELECT id FROM jobs WHERE digest = $1 AND dead_reason = 'unreadable' AND purged_at IS NULL
