-- Whether any job waits for a place.
SELECT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_parked WHERE parked IS NOT NULL)
