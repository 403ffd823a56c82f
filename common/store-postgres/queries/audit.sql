-- Audit lines of the tenant, newest first.
SELECT at, actor, action, job, detail FROM audit WHERE tenant = $1 ORDER BY line DESC LIMIT $2
