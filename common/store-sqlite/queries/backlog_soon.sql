-- Jobs that wait for their time, of those rows that fall due next. Others fall due, too, publications above all: what counts
-- is how many entries of the index are looked at, not how many are found.
SELECT j.id AS id, j.tenant AS tenant, j.lane AS lane, j.template AS template, j.business_area AS business_area
FROM (SELECT n, state FROM jobs INDEXED BY jobs_due WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2) d
CROSS JOIN jobs j ON j.n = d.n
WHERE d.state = 'waiting' AND j.parked IS NULL
