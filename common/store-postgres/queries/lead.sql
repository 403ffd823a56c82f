-- Takes a role that is free, expired or one's own.
INSERT INTO leaders (role, holder, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE leaders.holder = excluded.holder OR leaders.expires_at <= $4
