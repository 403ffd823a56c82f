-- Whether a schedule exists and is paused; leaders that fire the same one take turns.
SELECT paused FROM schedules WHERE id = $1 FOR UPDATE
