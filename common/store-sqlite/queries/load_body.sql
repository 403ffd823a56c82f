-- What a job asks for.
SELECT body FROM payloads WHERE job = ?1
