-- Whether a schedule is paused, and up to where its calendar is decided; leaders that fire the same one
-- take turns.
SELECT paused, next_at FROM schedules WHERE id = $1 FOR UPDATE
