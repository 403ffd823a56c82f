-- Version 7: what finished jobs of a session have said.
SET LOCAL search_path = bul;

-- Jobs without a session have no row, and nothing here changes with their states. What was said are bytes to the server, whose text
-- takes no character 0.
CREATE TABLE session_turns (
    job       uuid        NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    tenant    text        COLLATE "C" NOT NULL,
    session   text        COLLATE "C" NOT NULL CHECK (length(session) <= 200),
    ended_at  timestamptz NOT NULL,
    said_user bytea       NOT NULL CHECK (length(said_user) <= 65536),
    answered  bytea       NOT NULL CHECK (length(answered) <= 65536)
);
CREATE INDEX session_turns_latest ON session_turns (tenant, session, ended_at, job);

-- Workers write them with the ends of jobs and read them; users have the documents.
GRANT SELECT, INSERT, DELETE ON session_turns TO :system_role;
ALTER TABLE session_turns ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_turns FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON session_turns TO :system_role USING (true) WITH CHECK (true);
