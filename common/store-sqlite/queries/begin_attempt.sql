-- Opens the record of an attempt.
INSERT INTO attempts (job, attempt, worker, started_at, outcome) VALUES (?1, ?2, ?3, ?4, '')
