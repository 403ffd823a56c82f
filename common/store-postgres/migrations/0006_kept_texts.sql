-- Version 6: texts that are finished before their job is.
SET LOCAL search_path = bul;

-- By the digest of the request that each answers. Few jobs have any: only what took long to write is kept, and it goes when
-- the job has ended. The bytes are not text for the server, which takes no character 0.
CREATE TABLE kept_texts (
    job           uuid    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    request       bytea   NOT NULL CHECK (length(request) = 32),
    tenant        text    COLLATE "C" NOT NULL,
    prompt_tokens bigint  NOT NULL CHECK (prompt_tokens >= 0),
    body          bytea   NOT NULL CHECK (length(body) <= 262144),
    PRIMARY KEY (job, request)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

GRANT SELECT, INSERT, DELETE ON kept_texts TO :system_role;
-- Whoever cancels a job or purges a letter removes its texts, and need not read them.
GRANT SELECT (job, tenant), DELETE ON kept_texts TO :tenant_role;
ALTER TABLE kept_texts ENABLE ROW LEVEL SECURITY;
ALTER TABLE kept_texts FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON kept_texts TO :system_role USING (true) WITH CHECK (true);
CREATE POLICY own_rows ON kept_texts TO :tenant_role
    USING (tenant = current_setting('bul.tenant', true)) WITH CHECK (tenant = current_setting('bul.tenant', true));
