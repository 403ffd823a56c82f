-- What jobs without documents have said.
DELETE FROM session_turns WHERE job = ANY($1)
