-- Version 7: a completed job says where its tokens came from and what it waited for.

-- JSON; absent where there is nothing to tell, and with jobs that an earlier version completed.
ALTER TABLE jobs ADD COLUMN receipt TEXT;
