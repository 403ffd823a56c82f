-- All keys by name.
SELECT id, name, tenant, permission, hash, created_at, revoked_at FROM keys ORDER BY name, created_at, id
