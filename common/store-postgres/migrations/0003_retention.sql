-- Version 3: what has been kept long enough is removed.
SET LOCAL search_path = bul;

-- The audit outlives the jobs it is about.
ALTER TABLE audit DROP CONSTRAINT audit_job_fkey;

-- Jobs that were removed, by the state in which they had ended: the ledger counts them with those that are there.
CREATE TABLE pruned (
    tenant text   COLLATE "C" NOT NULL,
    state  text   COLLATE "C" NOT NULL CHECK (state IN ('completed', 'cancelled', 'dead')),
    jobs   bigint NOT NULL CHECK (jobs >= 0),
    PRIMARY KEY (tenant, state)
);

GRANT SELECT, INSERT, UPDATE ON pruned TO :system_role;
GRANT DELETE ON jobs, documents, attempts, fires TO :system_role;
GRANT SELECT, DELETE ON audit TO :system_role;
ALTER TABLE pruned ENABLE ROW LEVEL SECURITY;
ALTER TABLE pruned FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON pruned TO :system_role USING (true) WITH CHECK (true);
