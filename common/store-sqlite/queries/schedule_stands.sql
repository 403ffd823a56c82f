-- Whether a schedule is paused, and up to where its calendar is decided.
SELECT paused, next_at FROM schedules WHERE id = ?1
