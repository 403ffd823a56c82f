-- The latest turns of a session of the tenant that ended until ?3, the newest first.
SELECT user, assistant FROM session_turns
WHERE tenant = ?1 AND session = ?2 AND ended_at <= ?3
ORDER BY ended_at DESC, job DESC LIMIT ?4
