-- Whether a schedule exists and is paused.
SELECT paused FROM schedules WHERE id = ?1
