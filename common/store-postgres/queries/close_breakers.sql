-- A breaker that has closed; and those of processes that have said nothing since $3, which nobody counts.
DELETE FROM breakers WHERE process = $1 AND dependency = $2 OR reported_at <= $3
