-- Limits of tenants, what each has at work, and why a job waits for a place.

-- What a row leaves open is as the configuration says for everybody; 0 is none.
CREATE TABLE tenant_limits (
    tenant            TEXT    NOT NULL PRIMARY KEY,
    running_max       INTEGER CHECK (running_max >= 0),
    queued_max        INTEGER CHECK (queued_max >= 0),
    tokens_per_minute INTEGER CHECK (tokens_per_minute >= 0),
    tokens_per_day    INTEGER CHECK (tokens_per_day >= 0)
) STRICT, WITHOUT ROWID;

-- Jobs queued and running, and the tokens of the latest minute and day: counted in the transactions that
-- change the jobs, so that a limit costs one look and not a walk through all of them.
CREATE TABLE loads (
    tenant        TEXT    NOT NULL,
    lane          INTEGER NOT NULL,
    queued        INTEGER NOT NULL,
    running       INTEGER NOT NULL,
    minute        INTEGER NOT NULL,
    minute_tokens INTEGER NOT NULL,
    day           INTEGER NOT NULL,
    day_tokens    INTEGER NOT NULL,
    PRIMARY KEY (tenant, lane)
) STRICT, WITHOUT ROWID;
INSERT INTO loads
SELECT tenant, lane, sum(state = 'queued'), sum(state = 'running'), 0, 0, 0, 0
FROM jobs GROUP BY tenant, lane;

ALTER TABLE jobs ADD COLUMN parked TEXT
    CHECK (parked IS NULL OR (state = 'waiting' AND parked IN ('running_max', 'turn', 'budget')));
-- The next ones, the most urgent and oldest first.
CREATE INDEX jobs_parked ON jobs (tenant, lane, n) WHERE parked IS NOT NULL;
