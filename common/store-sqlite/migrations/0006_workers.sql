-- Version 6: processes with workers know of each other.

-- Those that take jobs, each as it told last. One that leaves has no row.
CREATE TABLE workers (
    process TEXT    NOT NULL PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
