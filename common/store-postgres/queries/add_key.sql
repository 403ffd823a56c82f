-- A new key.
INSERT INTO keys (id, name, tenant, permission, hash, created_at, revoked_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
