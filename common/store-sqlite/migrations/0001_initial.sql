-- The whole schema of version 1. Times are microseconds since 1970 UTC; ids are the 16 bytes of a
-- UUID version 7, so that the order of ids is the order of acceptance.
--
-- The CHECK constraints guard the state machine of bul-job a second time: a bug in the program can
-- make a statement fail, it cannot leave a job in a state that nobody looks after.

-- Every tenant that ever had a job. `accepted` is counted in the transaction that accepts and is
-- never derived from `jobs`, so that the ledger compares two independent numbers.
CREATE TABLE tenants (
    name     TEXT    NOT NULL PRIMARY KEY,
    accepted INTEGER NOT NULL CHECK (accepted >= 0)
) STRICT, WITHOUT ROWID;

-- One narrow row per job: what changes while it lives. What was asked for and what came out of it
-- stand in tables of their own, so that a change of state does not rewrite a megabyte of payload.
CREATE TABLE jobs (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant           TEXT    NOT NULL REFERENCES tenants (name) DEFERRABLE INITIALLY DEFERRED,
    template         TEXT    NOT NULL,
    business_area    TEXT    NOT NULL,
    lane             INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
    source           TEXT    NOT NULL,
    idempotency_key  TEXT,
    digest           BLOB    NOT NULL CHECK (length(digest) = 32),
    dedup_digest     BLOB    CHECK (length(dedup_digest) = 32),
    accepted_at      INTEGER NOT NULL,
    ended_at         INTEGER,
    purged_at        INTEGER,

    state            TEXT    NOT NULL
        CHECK (state IN ('waiting', 'queued', 'running', 'completed', 'cancelled', 'dead')),
    attempt          INTEGER NOT NULL CHECK (attempt >= 0),
    publish          INTEGER NOT NULL CHECK (publish >= 0),
    failures         INTEGER NOT NULL CHECK (failures >= 0),
    crashes          INTEGER NOT NULL CHECK (crashes >= 0),
    max_attempts     INTEGER NOT NULL CHECK (max_attempts >= 1),
    due_at           INTEGER,
    cancel_requested INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    deadline         INTEGER,
    dead_reason      TEXT
        CHECK (dead_reason IN ('permanent', 'attempts_spent', 'poison', 'deadline_passed', 'unreadable')),
    failure_code     TEXT,
    failure_message  TEXT,

    -- An ended job is never looked at again; a waiting or running one always is. Only a queued one may
    -- have no due time: its publication is confirmed and the broker holds it.
    CHECK (state NOT IN ('completed', 'cancelled', 'dead') OR due_at IS NULL),
    CHECK (state NOT IN ('waiting', 'running') OR due_at IS NOT NULL),
    CHECK ((state IN ('completed', 'cancelled', 'dead')) = (ended_at IS NOT NULL)),
    CHECK (state NOT IN ('running', 'completed') OR attempt >= 1),
    CHECK (state NOT IN ('queued', 'running') OR publish >= 1),
    CHECK ((state = 'dead') = (dead_reason IS NOT NULL)),
    CHECK (purged_at IS NULL OR state = 'dead')
) STRICT, WITHOUT ROWID;

-- The dispatcher's only question: what is due.
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
-- Lists by tenant, and by tenant and state; the latter also counts the ledger.
CREATE INDEX jobs_tenant ON jobs (tenant, id);
CREATE INDEX jobs_state ON jobs (tenant, state, id);
-- The place of a queued job.
CREATE INDEX jobs_place ON jobs (lane, accepted_at, id) WHERE state = 'queued';
-- What a running process left behind.
CREATE INDEX jobs_running ON jobs (id) WHERE state = 'running';
-- Usage since a time.
CREATE INDEX jobs_completed ON jobs (tenant, ended_at) WHERE state = 'completed';
-- Same key, same job: for as long as the job is kept.
CREATE UNIQUE INDEX jobs_idempotency ON jobs (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- Same content, same job: for as long as it is open.
CREATE UNIQUE INDEX jobs_dedup ON jobs (tenant, dedup_digest)
    WHERE dedup_digest IS NOT NULL AND state IN ('waiting', 'queued', 'running');

-- What was asked for: the job as JSON, or the raw bytes of a message nobody could read. A dead letter
-- that was unreadable and has been edited has both. A purged one has no row.
CREATE TABLE payloads (
    job  BLOB NOT NULL PRIMARY KEY REFERENCES jobs (id),
    body TEXT,
    raw  BLOB,
    CHECK (body IS NOT NULL OR raw IS NOT NULL)
) STRICT;

-- What a completed job brought and cost.
CREATE TABLE results (
    job           BLOB    NOT NULL PRIMARY KEY REFERENCES jobs (id),
    title         TEXT    NOT NULL,
    findings      TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    prompt_tokens INTEGER NOT NULL CHECK (prompt_tokens >= 0),
    cached_tokens INTEGER NOT NULL CHECK (cached_tokens >= 0),
    output_tokens INTEGER NOT NULL CHECK (output_tokens >= 0),
    generate_ms   REAL    NOT NULL,
    write_ms      REAL    NOT NULL,
    total_ms      REAL    NOT NULL
) STRICT;

-- A document is stored once per job and format.
CREATE TABLE documents (
    job    BLOB NOT NULL REFERENCES jobs (id),
    format TEXT NOT NULL CHECK (format IN ('md', 'html', 'pdf', 'json', 'txt')),
    bytes  BLOB NOT NULL,
    UNIQUE (job, format)
) STRICT;

-- The record of attempts. Written only by the transaction that begins or ends the attempt.
CREATE TABLE attempts (
    job             BLOB    NOT NULL REFERENCES jobs (id),
    attempt         INTEGER NOT NULL CHECK (attempt >= 1),
    worker          TEXT    NOT NULL,
    started_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    outcome         TEXT    NOT NULL
        CHECK (outcome IN ('', 'completed', 'failed', 'handed_back', 'crashed')),
    failure_class   TEXT
        CHECK (failure_class IN ('transient', 'permanent', 'poison', 'cancelled')),
    failure_code    TEXT,
    failure_message TEXT,
    retry_after_ms  INTEGER,
    PRIMARY KEY (job, attempt),
    CHECK ((outcome = '') = (ended_at IS NULL)),
    CHECK ((outcome = 'failed') = (failure_class IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- Who did what to dead letters.
CREATE TABLE audit (
    line   INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    action TEXT    NOT NULL,
    job    BLOB    NOT NULL REFERENCES jobs (id),
    detail TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_tenant ON audit (tenant, line);

CREATE TABLE schedules (
    id      BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant  TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    cron    TEXT    NOT NULL,
    zone    TEXT    NOT NULL,
    missed  TEXT    NOT NULL CHECK (missed IN ('skip', 'once', 'all')),
    job     TEXT    NOT NULL,
    paused  INTEGER NOT NULL CHECK (paused IN (0, 1)),
    next_at INTEGER,
    last_at INTEGER,
    UNIQUE (tenant, name)
) STRICT;
CREATE INDEX schedules_due ON schedules (next_at) WHERE paused = 0 AND next_at IS NOT NULL;

-- A fire happens once, whoever makes it.
CREATE TABLE fires (
    schedule BLOB    NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    fire_at  INTEGER NOT NULL,
    PRIMARY KEY (schedule, fire_at)
) STRICT, WITHOUT ROWID;

-- API keys. The secret is never here, only its hash.
CREATE TABLE keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    tenant     TEXT    NOT NULL,
    permission TEXT    NOT NULL CHECK (permission IN ('read', 'submit', 'operate')),
    hash       BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
-- A name may be given anew once its key is revoked.
CREATE UNIQUE INDEX keys_name ON keys (tenant, name) WHERE revoked_at IS NULL;

-- One holder per role, until its lease ends.
CREATE TABLE leaders (
    role       TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The row that a readiness check writes.
CREATE TABLE health (
    one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    checked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
