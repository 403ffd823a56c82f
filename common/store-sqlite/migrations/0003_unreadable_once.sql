-- Version 3: a message that nobody could read is kept once, and open circuit breakers are known.

-- Until now the digest of such a message was that of its bytes alone, and several letters could share it.
-- Nothing is compared with those of old letters any more.
UPDATE jobs SET digest = randomblob(32) WHERE dead_reason = 'unreadable';
CREATE UNIQUE INDEX jobs_unreadable ON jobs (digest) WHERE dead_reason = 'unreadable' AND purged_at IS NULL;

-- Circuit breakers that are open, each as its process told last. One that closes has no row.
CREATE TABLE breakers (
    process     TEXT    NOT NULL,
    dependency  TEXT    NOT NULL,
    since       INTEGER NOT NULL,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (process, dependency)
) STRICT, WITHOUT ROWID;
