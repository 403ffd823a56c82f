#!/usr/bin/env python3
"""Writes model/weights/ and model/golden.json from model/build/checkpoint.pt.

python model/export.py            (averaged weights, the default)
python model/export.py --last     (the weights of the last step)
"""

import argparse
import json
import os

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

import data
from llama import Llama, load_weights

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SYSTEM = ("Area: {}\nDocument: {}\nWrite plain business English. Refer to a fact only by its name in square brackets. "
          "Never invent numbers, names or dates.")
GOLDEN = [
    (SYSTEM.format("marketing", "strategy"),
     "Title: Marketing strategy: a new mobile app\nFacts:\n[subject] a new mobile app\n[budget] 25,000 EUR\n"
     "Section: Target audience\nWrite 3 sentences."),
    (SYSTEM.format("finance", "invoice"),
     "Title: Invoice: INV-2041\nFacts:\n[seller] Nordlicht GmbH\n[buyer] Müller & Söhne KG\n"
     "[invoice_number] INV-2041\n[due_date] 1 December 2026\n[payable] 1,190.00 EUR\nSection: Covering note\nWrite 3 sentences."),
    (SYSTEM.format("hr", "onboarding plan"),
     "Title: Onboarding plan: apprentices\nFacts:\n[subject] apprentices\nWrite an outline with 5 sections."),
]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--last", action="store_true", help="weights of the last step instead of their running average")
    args = ap.parse_args()
    out = os.path.join(data.HERE, "weights")
    os.makedirs(out, exist_ok=True)
    ck = torch.load(os.path.join(data.BUILD, "checkpoint.pt"), weights_only=False)
    state = ck["model"] if args.last else ck["ema"]
    state = {k: v.float().contiguous() for k, v in state.items()}
    save_file({k: v.half() for k, v in state.items()}, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    os.chmod(os.path.join(out, "model.safetensors"), 0o644)
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(ck["config"], f, indent=2)
        f.write("\n")
    tok = Tokenizer.from_file(os.path.join(data.BUILD, "tokenizer.json"))
    tok.save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "tokenizer_config.json"), "w") as f:
        json.dump({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": ck["config"]["max_position_embeddings"],
            "bos_token": None, "eos_token": "<|end|>", "pad_token": "<|pad|>", "add_bos_token": False, "add_eos_token": False,
            "clean_up_tokenization_spaces": False, "additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"],
            "chat_template": CHAT_TEMPLATE,
        }, f, indent=2)
        f.write("\n")
    size = sum(os.path.getsize(os.path.join(out, n)) for n in os.listdir(out))

    full = Llama(ck["config"]).eval()
    full.load_state_dict(state)
    half = load_weights(out)
    golden, same, count = [], 0, 0
    for system, user in GOLDEN:
        ids = data.prompt_ids(tok, system, user)
        text = f"<|system|>{system}<|end|><|user|>{user}<|end|><|assistant|>"
        assert tok.encode(text, add_special_tokens=False).ids == ids
        assert tok.decode(ids, skip_special_tokens=False) == text
        mask = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        with torch.no_grad():
            logits = half.head(half.hidden(torch.tensor([ids]), torch.arange(len(ids))[None], mask)[0, -1])
        top = logits.topk(5)
        answer = half.generate(ids, 40, -1)
        golden.append({
            "system": system, "user": user, "prompt": text, "prompt_ids": ids,
            "greedy_ids": answer, "greedy_text": tok.decode(answer, skip_special_tokens=False),
            "top5_first": [{"id": int(i), "token": tok.id_to_token(int(i)), "logit": round(float(v), 5)} for v, i in zip(top.values, top.indices)],
        })
    for n, g in enumerate(data.groups("heldout.jsonl")):
        if n >= 20:
            break
        ids = data.prompt_ids(tok, g["system"], g["prompts"][0]["user"])
        a, b = full.generate(ids, 160, data.END), half.generate(ids, 160, data.END)
        same, count = same + (a == b), count + 1
    with open(os.path.join(data.HERE, "golden.json"), "w", encoding="utf-8") as f:
        json.dump({"note": "greedy continuation (40 tokens, not stopped at <|end|>) and logits of the exported f16 weights upcast to f32",
                   "prompts": golden}, f, ensure_ascii=False, indent=1)
        f.write("\n")
    print(f"step {ck['state']['step']} tokens {ck['state']['tokens']} size {size / 2 ** 20:.2f} MiB; "
          f"greedy answers equal in f16 and f32: {same} of {count}")


if __name__ == "__main__":
    main()
