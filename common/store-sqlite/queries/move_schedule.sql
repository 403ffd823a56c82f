-- Moves a schedule on and never back: a leader that was frozen may still hold an old next fire.
UPDATE schedules SET
    next_at = CASE WHEN ?2 IS NULL THEN NULL ELSE max(coalesce(next_at, ?2), ?2) END,
    last_at = CASE WHEN ?3 IS NULL THEN last_at ELSE max(coalesce(last_at, ?3), ?3) END
WHERE id = ?1
