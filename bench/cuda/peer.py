"""Continuous batching of HF transformers on the shape of Qwen3-0.6B, random weights, as one line of JSON.

peer.py SEQUENCES PROMPT_MIN PROMPT_MAX OUTPUT [ROUNDS]

Weights, prompts and lengths are random: speed depends on shapes. Half precision, greedy, answers of fixed length, all requests at once.
"""

import json
import random
import sys
import time

import torch
import transformers
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

sequences, shortest, longest, output = map(int, sys.argv[1:5])
rounds = int(sys.argv[5]) if len(sys.argv) > 5 else 1

config = Qwen3Config(
    hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
    vocab_size=151936, tie_word_embeddings=True, max_position_embeddings=8192, rope_theta=1_000_000.0,
)
config._attn_implementation = "paged|sdpa"
torch.manual_seed(7)
with torch.device("cuda"):
    torch.set_default_dtype(torch.float16)
    model = Qwen3ForCausalLM(config).eval()

draw = random.Random(1)
prompts = [[draw.randrange(256) for _ in range(draw.randint(shortest, longest))] for _ in range(sequences)]
settings = GenerationConfig(max_new_tokens=output, min_new_tokens=output, do_sample=False, eos_token_id=-1, pad_token_id=0, use_cache=True)


def run(prompts):
    torch.cuda.synchronize()
    started = time.perf_counter()
    answers = model.generate_batch(inputs=prompts, generation_config=settings, progress_bar=False)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    tokens = sum(len(answer.generated_tokens) for answer in answers.values())
    return seconds, tokens


run(prompts[:4])
found = [run(prompts) for _ in range(rounds)]
print(json.dumps({
    "peer": f"transformers {transformers.__version__}, torch {torch.__version__}",
    "seconds": [seconds for seconds, _ in found],
    "output_tokens": found[0][1],
    "output_tokens_per_second": [tokens / seconds for seconds, tokens in found],
    "peak_memory_bytes": torch.cuda.max_memory_allocated(),
}))
