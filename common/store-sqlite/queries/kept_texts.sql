-- What attempts of a job have kept.
SELECT request, prompt_tokens, body FROM kept_texts WHERE job = ?1
