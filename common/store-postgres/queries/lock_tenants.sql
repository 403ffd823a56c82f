-- Makes everybody who begins jobs of these tenants wait for the end of the transaction: what they have
-- running is then counted and raised by one at a time. In the order given, which is everybody's.
SELECT pg_advisory_xact_lock(q.tenant) FROM unnest($1::bigint[]) AS q(tenant)
