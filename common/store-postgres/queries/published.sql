-- Confirmed publications: those that are still the latest of a queued job. Most jobs have begun by now
-- and are not written. This is Input::Published of the state machine for many rows at once. The due time
-- moves later only, so that the watch that is there holds; a job that an earlier version has left without
-- one stands in no watch and keeps none.
UPDATE jobs j SET due_at = greatest(j.due_at, q.due_at)
FROM unnest($1::uuid[], $2::int[], $3::timestamptz[]) AS q(id, publish, due_at)
WHERE j.id = q.id AND j.state = 'queued' AND j.publish = q.publish AND j.due_at IS NOT NULL
