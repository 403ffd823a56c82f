-- A tenant without limits of its own.
DELETE FROM tenant_limits WHERE tenant = ?1
