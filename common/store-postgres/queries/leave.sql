-- A process that takes no more jobs; and those that have said nothing since $2, which nobody counts.
DELETE FROM workers WHERE process = $1 OR seen_at <= $2
