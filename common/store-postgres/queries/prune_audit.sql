-- Old lines of the audit, of the $2 oldest: lines come in the order of time, and no index has it.
DELETE FROM audit a USING (SELECT line, at FROM audit ORDER BY line LIMIT $2) o WHERE a.line = o.line AND o.at <= $1
