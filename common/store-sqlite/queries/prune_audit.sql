-- Old lines of the audit, of the ?2 oldest: lines come in the order of time, and no index has it.
DELETE FROM audit WHERE line IN (
    SELECT line FROM (SELECT line, at FROM audit ORDER BY line LIMIT ?2) WHERE at <= ?1
)
