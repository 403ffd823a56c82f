-- Version 2: a message that nobody could read is kept once, and open circuit breakers are known.
SET LOCAL search_path = bul;

-- Until now the digest of such a message was that of its bytes alone, and several letters could share it.
-- Nothing is compared with those of old letters any more. Policies hold for the owner, too, who takes the
-- role that sees every tenant.
SET LOCAL ROLE :system_role;
UPDATE jobs SET digest = sha256(uuid_send(id)) WHERE dead_reason = 'unreadable';
RESET ROLE;
-- Neither of the two updates of a plain job touches a column of this index or of its condition.
CREATE UNIQUE INDEX jobs_unreadable ON jobs (digest) WHERE dead_reason = 'unreadable' AND purged_at IS NULL;

-- Circuit breakers that are open, each as its process told last. One that closes has no row.
CREATE TABLE breakers (
    process     text        COLLATE "C" NOT NULL,
    dependency  text        COLLATE "C" NOT NULL,
    since       timestamptz NOT NULL,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (process, dependency)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON breakers TO :system_role;
