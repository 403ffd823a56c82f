-- What jobs of sessions have said, with their ends ($1).
INSERT INTO session_turns (job, tenant, session, ended_at, said_user, answered)
SELECT q.job, q.tenant, q.session, $1, q.said_user, q.answered
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::bytea[]) AS q(job, tenant, session, said_user, answered)
