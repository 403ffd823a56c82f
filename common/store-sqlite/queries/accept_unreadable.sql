-- A message nobody could read is a dead letter from the start. No row when it is one already.
INSERT INTO jobs (
    id, tenant, template, business_area, lane, source, digest, accepted_at, ended_at,
    state, attempt, publish, failures, crashes, max_attempts, cancel_requested,
    dead_reason, failure_code, failure_message
) VALUES (?1, ?2, '', '', ?3, ?4, ?5, ?6, ?6, 'dead', 0, 0, 0, 0, ?7, 0, ?9, ?9, ?8)
ON CONFLICT (digest) WHERE dead_reason = 'unreadable' AND purged_at IS NULL DO NOTHING
