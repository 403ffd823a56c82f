-- Tenants that ever had a job at work, or have limits.
SELECT tenant FROM loads UNION SELECT tenant FROM tenant_limits ORDER BY tenant
