-- What tenants have at work, and whether jobs of theirs are parked: a row per tenant and lane. $2 and $3: the
-- running minute and day.
SELECT t.tenant, n.lane, coalesce(sum(l.queued), 0)::bigint, coalesce(sum(l.running), 0)::bigint,
    coalesce(sum(l.minute_tokens) FILTER (WHERE l.minute = $2), 0)::bigint,
    coalesce(sum(l.day_tokens) FILTER (WHERE l.day = $3), 0)::bigint,
    EXISTS (SELECT FROM jobs j WHERE j.parked IS NOT NULL AND j.tenant = t.tenant AND j.lane = n.lane)
FROM unnest($1::text[]) AS t(tenant)
CROSS JOIN (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS n(lane)
LEFT JOIN loads l ON l.tenant = t.tenant AND l.lane = n.lane
GROUP BY t.tenant, n.lane
