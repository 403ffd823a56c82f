-- Watches whose time has come, the oldest first; those another dispatcher has in hand are left to it.
DELETE FROM watches WHERE watch IN (
    SELECT watch FROM watches WHERE look_at <= $1 ORDER BY look_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING jobs
