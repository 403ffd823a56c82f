-- Documents of completed jobs, in the transaction that ends them.
INSERT INTO documents (job, tenant, format, bytes)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])
