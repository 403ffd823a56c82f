-- Nobody needs the texts of this job any more.
DELETE FROM kept_texts WHERE job = ?1
