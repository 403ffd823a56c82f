-- Version 8: texts that are finished before their job is.

-- By the digest of the request that each answers. Few jobs have any: only what took long to write is kept, and it goes when
-- the job has ended.
CREATE TABLE kept_texts (
    job           BLOB    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    request       BLOB    NOT NULL CHECK (length(request) = 32),
    prompt_tokens INTEGER NOT NULL CHECK (prompt_tokens >= 0),
    body          BLOB    NOT NULL CHECK (length(body) <= 262144),
    PRIMARY KEY (job, request)
) STRICT;
