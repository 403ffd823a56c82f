-- The independent side of the ledger equation, in the transaction that accepts.
INSERT INTO tenants (name, accepted)
SELECT column1, column2 FROM (VALUES (?, ?)...) WHERE column1 IS NOT NULL
ON CONFLICT (name) DO UPDATE SET accepted = accepted + excluded.accepted
