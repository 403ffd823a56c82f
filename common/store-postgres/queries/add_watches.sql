-- Announces jobs to the dispatcher: watch number n has the ids from first to last of the one array, since
-- an array of arrays must be rectangular.
INSERT INTO watches (look_at, jobs)
SELECT w.look_at, ($4::uuid[])[w.first:w.last]
FROM unnest($1::timestamptz[], $2::int[], $3::int[]) AS w(look_at, first, last)
