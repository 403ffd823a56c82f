-- Processes that said they were there after $1.
SELECT process FROM workers WHERE seen_at > $1
