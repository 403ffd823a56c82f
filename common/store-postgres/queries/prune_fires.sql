-- Old fires that their schedule has left behind: it makes none from before its next time.
DELETE FROM fires d USING (
    SELECT f.schedule, f.fire_at FROM schedules s JOIN fires f ON f.schedule = s.id
    WHERE f.fire_at <= $1 AND (s.next_at IS NULL OR f.fire_at < s.next_at) LIMIT $2
) o
WHERE d.schedule = o.schedule AND d.fire_at = o.fire_at
