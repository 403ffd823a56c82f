-- Version 5: what has been kept long enough is removed.

-- The audit outlives the jobs it is about.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, ' REFERENCES jobs (id)', '') WHERE type = 'table' AND name = 'audit';
PRAGMA writable_schema = RESET;

-- Jobs that were removed, by the state in which they had ended: the ledger counts them with those that are there.
CREATE TABLE pruned (
    tenant TEXT    NOT NULL,
    state  TEXT    NOT NULL CHECK (state IN ('completed', 'cancelled', 'dead')),
    jobs   INTEGER NOT NULL CHECK (jobs >= 0),
    PRIMARY KEY (tenant, state)
) STRICT, WITHOUT ROWID;
