-- Version 9: what finished jobs of a session have said.

-- Jobs without a session have no row, and nothing here changes with their states.
CREATE TABLE session_turns (
    job       BLOB    NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    tenant    TEXT    NOT NULL,
    session   TEXT    NOT NULL,
    ended_at  INTEGER NOT NULL,
    user      BLOB    NOT NULL CHECK (length(user) <= 65536),
    assistant BLOB    NOT NULL CHECK (length(assistant) <= 65536)
) STRICT;
CREATE INDEX session_turns_latest ON session_turns (tenant, session, ended_at, job);
