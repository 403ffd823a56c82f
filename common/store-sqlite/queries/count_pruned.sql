-- Jobs that are gone stay in the ledger.
INSERT INTO pruned (tenant, state, jobs) VALUES (?1, ?2, ?3)
ON CONFLICT (tenant, state) DO UPDATE SET jobs = jobs + excluded.jobs
