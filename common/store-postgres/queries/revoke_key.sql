-- Revokes a key; the first time counts.
UPDATE keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1
