-- What jobs ask for.
SELECT job, body FROM payloads WHERE job IN ((?)...)
