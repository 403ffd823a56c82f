-- What was asked for is gone for good (secure_delete overwrites it in the file).
DELETE FROM payloads WHERE job = ?1
