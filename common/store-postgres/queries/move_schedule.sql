-- Moves a schedule on and never back: a leader that was frozen may still hold an old next fire.
UPDATE schedules SET
    next_at = CASE WHEN $2::timestamptz IS NULL THEN NULL ELSE greatest(next_at, $2) END,
    last_at = greatest(last_at, $3)
WHERE id = $1
