-- What a job of a session has said, with its end.
INSERT INTO session_turns (job, tenant, session, ended_at, user, assistant) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
