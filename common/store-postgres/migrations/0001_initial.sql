-- The whole schema of version 1, in the schema `bul`. Run as the account that shall own the tables.
-- :system_role and :tenant_role stand for the two roles of this installation; the program puts their
-- names in (see src/roles.rs), because roles belong to the whole cluster and not to one database.
--
-- The CHECK constraints guard the state machine of bul-job a second time: a bug in the program can
-- make a statement fail, it cannot leave a job in a state that nobody looks after.
--
-- Row-level security guards the tenants a second time: what a user asks runs as the tenant role, which sees
-- the rows of the tenant named by the setting bul.tenant and no others; without it, none.

CREATE SCHEMA bul;
SET LOCAL search_path = bul;

-- Which steps are in, and the names of the roles for the next process that opens the database.
CREATE TABLE migrations (
    version    integer     NOT NULL PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE installation (
    one         boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    system_role text    NOT NULL,
    tenant_role text    NOT NULL
);

-- How many jobs of a tenant were accepted: counted in the transaction that accepts and never derived
-- from `jobs`, so that the ledger compares two independent numbers. Several rows per tenant, summed up:
-- one would make all that accept wait for each other's commit.
CREATE TABLE accepted (
    tenant text     COLLATE "C" NOT NULL,
    shard  smallint NOT NULL,
    jobs   bigint   NOT NULL CHECK (jobs >= 0),
    PRIMARY KEY (tenant, shard)
) WITH (fillfactor = 50);

-- One row per job: what was asked for, where it is, its latest attempt, what came out of it.
--
-- A plain job is inserted once and updated twice. No column that these two updates change is in an
-- index or in the condition of one, and the pages are filled by 40 % only: the new version of the row
-- finds room beside the old one and no index is touched (a HOT update: a quarter of the cost, a fifth
-- of the log). An index on due_at or state would undo that; `watches` stands in for the first.
CREATE TABLE jobs (
    id               uuid        NOT NULL PRIMARY KEY,
    accepted_at      timestamptz NOT NULL,
    due_at           timestamptz,
    started_at       timestamptz,
    ended_at         timestamptz,
    deadline         timestamptz,
    purged_at        timestamptz,
    -- The end of a job that took more than a day by the time in its id, for usage.sql.
    ended_late       timestamptz,
    prompt_tokens    bigint,
    cached_tokens    bigint,
    output_tokens    bigint,
    generate_ms      float8,
    write_ms         float8,
    total_ms         float8,
    attempt          integer     NOT NULL,
    publish          integer     NOT NULL,
    failures         integer     NOT NULL,
    crashes          integer     NOT NULL,
    max_attempts     integer     NOT NULL,
    lane             smallint    NOT NULL,
    cancel_requested boolean     NOT NULL DEFAULT false,
    state            text        COLLATE "C" NOT NULL,
    dead_reason      text        COLLATE "C",
    tenant           text        COLLATE "C" NOT NULL,
    template         text        COLLATE "C" NOT NULL,
    business_area    text        COLLATE "C" NOT NULL,
    source           text        NOT NULL,
    -- Of the submission: a key belongs to a content for as long as the job is kept.
    digest           bytea       NOT NULL CHECK (length(digest) = 32),
    idempotency_key  text        COLLATE "C",
    -- Set while an open job wants to be joined by others of its content (`dedup`).
    open_digest      bytea       CHECK (length(open_digest) = 32),
    worker           text,
    failure_code     text        COLLATE "C",
    failure_message  text,
    title            text,
    model            text,
    findings         text,
    -- The job as JSON; absent when it was unreadable (then raw has the message) or is purged. Kept as
    -- text: jsonb takes no \u0000 and reorders keys. Large ones lie outside the row and are not
    -- written again by an update.
    body             text,
    raw              bytea,

    -- What each state demands; the frequent ones first. An ended job is never looked at again; a waiting
    -- or running one always is. Only a queued one may have no due time: its publication is confirmed and
    -- the broker holds it.
    CONSTRAINT jobs_state_rule CHECK (CASE state
        WHEN 'queued' THEN publish >= 1
            AND ended_at IS NULL AND dead_reason IS NULL AND purged_at IS NULL AND body IS NOT NULL
        WHEN 'running' THEN publish >= 1 AND attempt >= 1 AND due_at IS NOT NULL AND started_at IS NOT NULL
            AND worker IS NOT NULL
            AND ended_at IS NULL AND dead_reason IS NULL AND purged_at IS NULL AND body IS NOT NULL
        WHEN 'completed' THEN attempt >= 1 AND started_at IS NOT NULL AND worker IS NOT NULL
            AND title IS NOT NULL AND model IS NOT NULL AND prompt_tokens IS NOT NULL
            AND cached_tokens IS NOT NULL AND output_tokens IS NOT NULL AND generate_ms IS NOT NULL
            AND write_ms IS NOT NULL AND total_ms IS NOT NULL
            AND due_at IS NULL AND open_digest IS NULL
            AND ended_at IS NOT NULL AND dead_reason IS NULL AND purged_at IS NULL AND body IS NOT NULL
        WHEN 'waiting' THEN due_at IS NOT NULL
            AND ended_at IS NULL AND dead_reason IS NULL AND purged_at IS NULL AND body IS NOT NULL
        WHEN 'cancelled' THEN due_at IS NULL AND open_digest IS NULL
            AND ended_at IS NOT NULL AND dead_reason IS NULL AND purged_at IS NULL AND body IS NOT NULL
        WHEN 'dead' THEN due_at IS NULL AND open_digest IS NULL AND ended_at IS NOT NULL AND dead_reason IS NOT NULL
            AND dead_reason IN ('permanent', 'attempts_spent', 'poison', 'deadline_passed', 'unreadable')
            AND (purged_at IS NULL OR (body IS NULL AND raw IS NULL))
        ELSE false END),
    CONSTRAINT jobs_number_rule CHECK (attempt >= 0 AND publish >= 0 AND failures >= 0 AND crashes >= 0
        AND max_attempts >= 1 AND lane BETWEEN 0 AND 3
        AND (prompt_tokens IS NULL OR (prompt_tokens >= 0 AND cached_tokens >= 0 AND output_tokens >= 0)))
) WITH (
    fillfactor = 40,
    -- A tenth of a large table is too much to wait for: dead versions would fill the pages.
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);
-- lz4 where the server has it: several times faster than the default.
DO $$ BEGIN
    ALTER TABLE jobs ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN OTHERS THEN NULL;
END $$;

-- Lists by tenant.
CREATE INDEX jobs_tenant ON jobs (tenant, id);
-- Same key, same job.
CREATE UNIQUE INDEX jobs_idempotency ON jobs (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- Same content, same job, for as long as it is open.
CREATE UNIQUE INDEX jobs_dedup ON jobs (tenant, open_digest) WHERE open_digest IS NOT NULL;
-- Dead letters.
CREATE INDEX jobs_dead ON jobs (tenant, id) WHERE dead_reason IS NOT NULL;
-- Jobs that ended long after they came.
CREATE INDEX jobs_late ON jobs (tenant, ended_late) WHERE ended_late IS NOT NULL;

-- What the dispatcher looks at, and when: one row per transaction that gave jobs a due time, instead of
-- an index entry per job and change. Invariant: a job with a due_at stands in a watch whose look_at is
-- not later. The reverse does not hold: a job that has moved on is found out when it is looked at.
CREATE TABLE watches (
    watch   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    look_at timestamptz NOT NULL,
    jobs    uuid[]      NOT NULL
) WITH (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0);
-- Random bytes do not get smaller.
ALTER TABLE watches ALTER COLUMN jobs SET STORAGE EXTERNAL;
CREATE INDEX watches_look ON watches (look_at);

-- A document is stored once per job and format. No foreign key: its check would cost more than the row,
-- and nothing ever deletes a job that has documents.
CREATE TABLE documents (
    job    uuid  NOT NULL,
    tenant text  COLLATE "C" NOT NULL,
    format text  COLLATE "C" NOT NULL CHECK (length(format) BETWEEN 1 AND 16),
    bytes  bytea NOT NULL,
    PRIMARY KEY (job, format)
);
ALTER TABLE documents ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Attempts that ended in anything but a result. The latest one, while it runs and once it has
-- completed, stands in `jobs` alone.
CREATE TABLE attempts (
    job             uuid        NOT NULL REFERENCES jobs (id),
    attempt         integer     NOT NULL CHECK (attempt >= 1),
    tenant          text        COLLATE "C" NOT NULL,
    worker          text        NOT NULL,
    started_at      timestamptz NOT NULL,
    ended_at        timestamptz NOT NULL,
    outcome         text        NOT NULL CHECK (outcome IN ('failed', 'handed_back', 'crashed')),
    failure_class   text        CHECK (failure_class IN ('transient', 'permanent', 'poison', 'cancelled')),
    failure_code    text,
    failure_message text,
    retry_after_ms  bigint,
    PRIMARY KEY (job, attempt),
    CHECK ((outcome = 'failed') = (failure_class IS NOT NULL))
);

-- Who did what to dead letters.
CREATE TABLE audit (
    line   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text        COLLATE "C" NOT NULL,
    at     timestamptz NOT NULL,
    actor  text        NOT NULL,
    action text        NOT NULL,
    job    uuid        NOT NULL REFERENCES jobs (id),
    detail text        NOT NULL
);
CREATE INDEX audit_tenant ON audit (tenant, line);

CREATE TABLE schedules (
    id      uuid        NOT NULL PRIMARY KEY,
    tenant  text        COLLATE "C" NOT NULL,
    name    text        COLLATE "C" NOT NULL,
    cron    text        NOT NULL,
    zone    text        NOT NULL,
    missed  text        NOT NULL CHECK (missed IN ('skip', 'once', 'all')),
    job     text        NOT NULL,
    paused  boolean     NOT NULL,
    next_at timestamptz,
    last_at timestamptz,
    UNIQUE (tenant, name)
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE NOT paused AND next_at IS NOT NULL;

-- A fire happens once, whoever makes it.
CREATE TABLE fires (
    schedule uuid        NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    fire_at  timestamptz NOT NULL,
    PRIMARY KEY (schedule, fire_at)
);

-- API keys. The secret is never here, only its hash.
CREATE TABLE keys (
    id         text        COLLATE "C" NOT NULL PRIMARY KEY,
    name       text        COLLATE "C" NOT NULL,
    tenant     text        COLLATE "C" NOT NULL,
    permission text        NOT NULL CHECK (permission IN ('read', 'submit', 'operate')),
    hash       bytea       NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
-- A name may be given anew once its key is revoked.
CREATE UNIQUE INDEX keys_name ON keys (tenant, name) WHERE revoked_at IS NULL;

-- One holder per role, until its lease ends.
CREATE TABLE leaders (
    role       text        COLLATE "C" NOT NULL PRIMARY KEY,
    holder     text        NOT NULL,
    expires_at timestamptz NOT NULL
);

-- The row that a readiness check writes.
CREATE TABLE health (
    one        boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    checked_at timestamptz NOT NULL
);

-- Rights. The system role works for everybody: workers, dispatcher, leader, accounts.
GRANT USAGE ON SCHEMA bul TO :system_role, :tenant_role;
GRANT SELECT ON migrations, installation TO :system_role;
GRANT SELECT, INSERT, UPDATE ON accepted, jobs, keys, schedules TO :system_role;
GRANT SELECT, INSERT ON documents, attempts, fires TO :system_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON watches, leaders, health TO :system_role;
-- The tenant role does what users may do. It may announce a job to the dispatcher and not read what
-- was announced.
GRANT SELECT, UPDATE ON jobs, attempts TO :tenant_role;
GRANT SELECT ON documents TO :tenant_role;
GRANT SELECT, INSERT ON audit TO :tenant_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON schedules TO :tenant_role;
GRANT INSERT ON watches TO :tenant_role;

-- FORCE: the owner of the tables is subject to the policies like everybody else.
DO $$
DECLARE guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['accepted', 'jobs', 'documents', 'attempts', 'audit', 'schedules', 'keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format('CREATE POLICY everything ON %I TO :system_role USING (true) WITH CHECK (true)', guarded);
        EXECUTE format('CREATE POLICY own_rows ON %I TO :tenant_role
            USING (tenant = current_setting(''bul.tenant'', true))
            WITH CHECK (tenant = current_setting(''bul.tenant'', true))', guarded);
    END LOOP;
END $$;

-- Limits of tenants. Those a row leaves open are as the configuration says for everybody; 0 is none.
CREATE TABLE tenant_limits (
    tenant            text    COLLATE "C" NOT NULL PRIMARY KEY,
    running_max       integer CHECK (running_max >= 0),
    queued_max        integer CHECK (queued_max >= 0),
    tokens_per_minute bigint  CHECK (tokens_per_minute >= 0),
    tokens_per_day    bigint  CHECK (tokens_per_day >= 0)
);

-- What each tenant has queued and running, and the tokens of its latest minute and day: counted in the
-- statements that change the jobs, since no index leads to queued or running rows. Several rows per tenant
-- and lane, summed up, like `accepted`; one alone may be negative.
CREATE TABLE loads (
    tenant        text     COLLATE "C" NOT NULL,
    lane          smallint NOT NULL,
    shard         smallint NOT NULL,
    queued        bigint   NOT NULL,
    running       bigint   NOT NULL,
    minute        bigint   NOT NULL DEFAULT 0,
    minute_tokens bigint   NOT NULL DEFAULT 0,
    day           bigint   NOT NULL DEFAULT 0,
    day_tokens    bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, lane, shard)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- Why a job waits for a place. NULL in a plain life, hence its index costs such a job nothing.
ALTER TABLE jobs ADD COLUMN parked text COLLATE "C" CONSTRAINT jobs_parked_rule
    CHECK (parked IS NULL OR (state = 'waiting' AND parked IN ('running_max', 'turn', 'budget')));
-- The next ones, the most urgent and oldest first.
CREATE INDEX jobs_parked ON jobs (tenant, lane, id) WHERE parked IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_limits TO :system_role;
GRANT SELECT, INSERT, UPDATE ON loads TO :system_role, :tenant_role;
ALTER TABLE loads ENABLE ROW LEVEL SECURITY;
ALTER TABLE loads FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON loads TO :system_role USING (true) WITH CHECK (true);
CREATE POLICY own_rows ON loads TO :tenant_role
    USING (tenant = current_setting('bul.tenant', true)) WITH CHECK (tenant = current_setting('bul.tenant', true));
