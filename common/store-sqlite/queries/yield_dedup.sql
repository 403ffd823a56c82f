-- A letter that runs again gives up its dedup digest when a newer open job holds the same one.
UPDATE jobs SET dedup_digest = NULL
WHERE id = ?1 AND EXISTS (
    SELECT 1 FROM jobs o
    WHERE o.tenant = jobs.tenant AND o.dedup_digest = jobs.dedup_digest AND o.dedup_digest IS NOT NULL
      AND o.state IN ('waiting', 'queued', 'running')
)
