-- The next jobs, as far as a bounded look finds them, since no index leads to queued rows: $2 jobs that came next after each
-- of those that began last ($1), and the $2 that came last of all. The queue lies behind the former, and what is urgent and
-- new among the latter.
WITH looked AS (
    SELECT o.* FROM unnest($1::uuid[]) AS front(id) CROSS JOIN LATERAL (
        SELECT j.id, j.tenant, j.lane, j.template, j.business_area, j.state FROM jobs j
        WHERE j.id > front.id ORDER BY j.id LIMIT $2
    ) o
    UNION
    SELECT n.* FROM (
        SELECT j.id, j.tenant, j.lane, j.template, j.business_area, j.state FROM jobs j ORDER BY j.id DESC LIMIT $2
    ) n
)
SELECT id, tenant, lane, template, business_area FROM looked
WHERE state = 'queued' AND lane = ANY($3) ORDER BY lane, id
