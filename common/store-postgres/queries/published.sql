-- Confirmed publications: those that are still the latest of a queued job. Most jobs have begun by now
-- and are not written. This is Input::Published of the state machine for many rows at once.
UPDATE jobs j SET due_at = NULL
FROM unnest($1::uuid[], $2::int[]) AS q(id, publish)
WHERE j.id = q.id AND j.state = 'queued' AND j.publish = q.publish AND j.due_at IS NOT NULL
