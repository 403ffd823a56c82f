-- The record of attempts of a job that goes.
DELETE FROM attempts WHERE job = ?1
