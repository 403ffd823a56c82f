-- Its fires go with it; jobs it has made stay.
DELETE FROM schedules WHERE tenant = $1 AND id = $2
