-- Jobs in the broker's hands.
SELECT count(*) FROM jobs WHERE state = 'queued'
