-- Version 5: a completed job says where its tokens came from and what it waited for.
SET LOCAL search_path = bul;

-- JSON; NULL where there is nothing to tell, and with jobs that an earlier version completed. Without a default no row is
-- touched, and processes of that version go on beside this one.
ALTER TABLE jobs ADD COLUMN receipt text;
