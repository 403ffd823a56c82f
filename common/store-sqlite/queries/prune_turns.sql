-- What a job without documents has said.
DELETE FROM session_turns WHERE job = ?1
