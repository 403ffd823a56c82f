-- One line of the audit.
INSERT INTO audit (tenant, at, actor, action, job, detail) VALUES ($1, $2, $3, $4, $5, $6)
