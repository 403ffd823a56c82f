-- The key of a hash, unless it is revoked.
SELECT id, name, tenant, permission, hash, created_at, revoked_at FROM keys WHERE hash = $1 AND revoked_at IS NULL
