"""Writes tiny random checkpoints and what Hugging Face transformers computes for them.

Needs: pip install torch transformers safetensors tokenizers gguf
Run:   python make_golden.py [output directory]

Every folder holds a checkpoint as users have it, plus `expected.safetensors`: for two prompts
`prompt_i` (ids), `logits_i` (f32, all positions) and `greedy_i` (ids that follow). GGUF files
hold the same weights as the folder they are named after; for quantised ones the reference is
computed from the dequantised weights.
"""

import copy
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
SPECIAL = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ċ", "-")]
VOCAB = 272


def byte_chars():
    """GPT-2's printable character for each byte."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in keep]
    table = {b: chr(b) for b in keep} | {b: chr(256 + i) for i, b in enumerate(rest)}
    return [table[b] for b in range(256)]


TOKENS = byte_chars() + ["".join(m) for m in MERGES] + SPECIAL
END = TOKENS.index("<|end|>")


def tokenizer():
    first = len(TOKENS) - len(SPECIAL)
    flags = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": first + i, "content": t, **flags} for i, t in enumerate(SPECIAL)],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(TOKENS)}, "merges": [list(m) for m in MERGES]},
    }


def build(config, dtype):
    """A random model whose weights are exact in `dtype`, computing in f32."""
    torch.manual_seed(len(config.model_type) + config.num_key_value_heads)
    config.eos_token_id = END
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Norms near one, the rest large enough that logits are not all alike.
            p.copy_(1 + 0.2 * torch.randn_like(p) if "norm" in name else 0.25 * torch.randn_like(p))
            p.copy_(p.to(dtype).float())
    return model


def expected(model):
    out = {}
    for i, (length, step) in enumerate([(20, 7), (23, 13)]):
        ids = [(j * step + 3 + i) % 261 for j in range(length)]
        with torch.no_grad():
            out[f"logits_{i}"] = model(torch.tensor([ids])).logits[0].float().numpy()
            follow = list(ids)
            for _ in range(12):
                follow.append(int(model(torch.tensor([follow])).logits[0, -1].argmax()))
        out[f"prompt_{i}"] = np.array(ids, dtype=np.int64)
        out[f"greedy_{i}"] = np.array(follow[length:], dtype=np.int64)
    return out


def write(name, config, dtype=torch.float32, old_rope=False, shards=False):
    model = build(config, dtype)
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    # A copy: converting would round the rotary frequencies of the reference too.
    copy.deepcopy(model).to(dtype).save_pretrained(folder, max_shard_size="40KB" if shards else "5GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    if old_rope:
        rope = saved.pop("rope_parameters")
        saved["rope_theta"] = rope.pop("rope_theta")
        if rope.get("rope_type") != "default":
            saved["rope_scaling"] = rope
    path.write_text(json.dumps(saved, indent=1))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(), ensure_ascii=False))
    settings = {"eos_token": "<|end|>", "pad_token": "<|pad|>"}
    if shards:
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    else:
        settings["chat_template"] = TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    save_file(expected(model), folder / "expected.safetensors")
    return model


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    stem, suffix = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{GGUF_NAMES[part]}.{suffix}"
    return f"{GGUF_NAMES[stem]}.{suffix}"


def pairs(weight, heads):
    """Rows reordered from halves to adjacent pairs, as GGUF files of llama have them."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(name, model, kind):
    config = model.config
    arch = config.model_type
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if t in SPECIAL else 1 for t in TOKENS])
    writer.add_token_merges([" ".join(m) for m in MERGES])
    writer.add_eos_token_id(END)
    writer.add_chat_template(TEMPLATE)
    state = {k: v.detach().float().numpy() for k, v in model.state_dict().items()}
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    rounded = {}
    for key, value in state.items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        heads = next((n for part, n in heads.items() if part in key), None)
        stored = pairs(value, heads) if arch == "llama" and heads else value
        if value.ndim == 1:
            writer.add_tensor(gguf_name(key), stored)
            continue
        data = gguf.quants.quantize(np.ascontiguousarray(stored), kind)
        writer.add_tensor(gguf_name(key), data, raw_dtype=kind)
        rounded[key] = torch.tensor(gguf.quants.dequantize(gguf.quants.quantize(value, kind), kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.load_state_dict(rounded, strict=False)
    save_file(expected(model), OUT / f"{name}.expected.safetensors")


def main():
    common = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
    }
    rope = lambda theta, **more: {"rope_type": "default", "rope_theta": theta, **more}
    llama = write("llama", LlamaConfig(
        **common, num_key_value_heads=2, head_dim=8, tie_word_embeddings=False, rope_parameters=rope(10000.0)))
    write("llama_tied", LlamaConfig(
        **common, num_key_value_heads=4, head_dim=8, tie_word_embeddings=True, rope_parameters=rope(500000.0)),
        dtype=torch.float16, old_rope=True, shards=True)
    write("llama3_rope", LlamaConfig(
        **common, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True,
        rope_parameters=rope(10000.0, **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                         "high_freq_factor": 4.0, "original_max_position_embeddings": 64})),
        old_rope=True)
    write("qwen2_tied", Qwen2Config(
        **common, num_key_value_heads=2, tie_word_embeddings=True, rope_parameters=rope(1000000.0)),
        dtype=torch.bfloat16)
    qwen3 = write("qwen3", Qwen3Config(
        **common, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False, rope_parameters=rope(1000000.0)))
    write_gguf("qwen3-f16", qwen3, gguf.GGMLQuantizationType.F16)
    write_gguf("llama-f16", llama, gguf.GGMLQuantizationType.F16)
    write_gguf("llama-q8_0", llama, gguf.GGMLQuantizationType.Q8_0)


main()
