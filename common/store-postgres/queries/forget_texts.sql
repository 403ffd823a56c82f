-- Nobody needs the texts of these jobs any more.
DELETE FROM kept_texts WHERE job = ANY($1)
