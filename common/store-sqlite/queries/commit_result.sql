-- What a completed job brought and cost.
INSERT INTO results (job, title, findings, model, prompt_tokens, cached_tokens, output_tokens,
    generate_ms, write_ms, total_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
