-- The independent side of the ledger equation, in the transaction that accepts.
INSERT INTO tenants (name, accepted) VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE SET accepted = accepted + excluded.accepted
