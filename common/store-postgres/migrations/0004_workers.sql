-- Version 4: processes with workers know of each other.
SET LOCAL search_path = bul;

-- Those that take jobs, each as it told last. One that leaves has no row.
CREATE TABLE workers (
    process text        COLLATE "C" NOT NULL PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON workers TO :system_role;
