-- The record of attempts of jobs that go.
DELETE FROM attempts WHERE job = ANY($1)
