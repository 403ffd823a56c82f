-- Breakers told open since $1.
SELECT process, dependency, since, reported_at FROM breakers WHERE reported_at > $1
ORDER BY dependency, process
