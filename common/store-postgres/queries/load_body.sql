-- What a job of the tenant asks for.
SELECT body FROM jobs WHERE tenant = $1 AND id = $2
