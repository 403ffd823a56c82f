-- Tenants that ever had a job at work or parked, or have limits.
SELECT tenant FROM loads UNION SELECT tenant FROM tenant_limits ORDER BY tenant
