"""Tokenizer, tokenised groups and batches."""

import hashlib
import json
import os
import random

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "build")
SPECIALS = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
PAD, END, SYSTEM, USER, ASSISTANT = range(5)


def groups(name):
    with open(os.path.join(BUILD, name), encoding="utf-8") as f:
        for line in f:
            yield json.loads(line)


def train_tokenizer(path, size=3072, limit=12000):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.decoder = decoders.ByteLevel()

    def texts():
        for i, g in enumerate(groups("train.jsonl")):
            if i >= limit:
                return
            yield g["system"]
            for p in g["prompts"]:
                yield p["user"]
                yield from p["answers"]

    tok.train_from_iterator(texts(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.save(path)
    return tok


def prompt_ids(tok, system, user):
    enc = lambda text: tok.encode(text, add_special_tokens=False).ids  # noqa: E731
    return [SYSTEM] + enc(system) + [END, USER] + enc(user) + [END, ASSISTANT]


def shared_lines(texts):
    """Whole lines that all texts begin with; no token crosses a line break before a letter."""
    common = os.path.commonprefix(texts)
    return common[:common.rfind("\n") + 1]


def encode_group(tok, g):
    """ids, position, user index, answer index, label for one group.

    The system text and what all prompts of a document begin with stand once; every answer sees
    its prompt and itself only.  The <|assistant|> mark opens each answer, so that every answer
    has its own first label.
    """
    enc = lambda text: tok.encode(text, add_special_tokens=False).ids  # noqa: E731
    ids, pos, usr, ans, lab = [], [], [], [], []

    def add(tokens, start, u, a, labels):
        ids.extend(tokens)
        pos.extend(range(start, start + len(tokens)))
        usr.extend([u] * len(tokens))
        ans.extend([a] * len(tokens))
        lab.extend(labels)

    users = [p["user"] for p in g["prompts"]]
    start = shared_lines(users)
    head = [SYSTEM] + enc(g["system"]) + [END, USER] + enc(start)
    add(head, 0, 0, 0, [-1] * len(head))
    for u, p in enumerate(g["prompts"], 1):
        user = enc(p["user"][len(start):]) + [END]
        add(user, len(head), u, 0, [-1] * len(user))
        for a, text in enumerate(p["answers"], 1):
            body = enc(text) + [END]
            add([ASSISTANT] + body[:-1], len(head) + len(user), u, a, body)
    return np.array([ids, pos, usr, ans, lab], dtype=np.int16)


def tokenised(tok, name, limit=0):
    """The groups of a file as arrays; kept in build/ so that a restart is quick."""
    source = os.path.join(BUILD, name)
    vocabulary = hashlib.sha256(tok.to_str().encode()).hexdigest()[:12]
    cache = f"{source}.{vocabulary}.{limit or 'all'}.npz"
    if os.path.exists(cache) and os.path.getmtime(cache) > os.path.getmtime(source):
        with np.load(cache) as f:
            return np.split(f["items"], f["ends"][:-1], axis=1)
    out = []
    for i, g in enumerate(groups(name)):
        if limit and i >= limit:
            break
        item = encode_group(tok, g)
        if item.shape[1] <= 1024:
            out.append(item)
    part = f"{cache}.{os.getpid()}.npz"
    np.savez(part, items=np.concatenate(out, 1), ends=np.cumsum([x.shape[1] for x in out]))
    os.replace(part, cache)
    return out


def order(count, epoch, lengths, batch, seed=7):
    """Batches of similar length in random order, the same for the same epoch and seed."""
    r = random.Random(seed * 1000 + epoch)
    idx = list(range(count))
    r.shuffle(idx)
    batches = []
    for i in range(0, count, batch * 64):
        part = sorted(idx[i:i + batch * 64], key=lambda j: lengths[j])
        batches += [part[k:k + batch] for k in range(0, len(part) - batch + 1, batch)]
    r.shuffle(batches)
    return batches


def collate(items):
    t = max(x.shape[1] for x in items)
    out = np.zeros((5, len(items), t), dtype=np.int64)
    out[2:4] = -1
    out[4] = -1
    for i, x in enumerate(items):
        out[:, i, :x.shape[1]] = x
    ids, pos, usr, ans, lab = torch.from_numpy(out)
    ui, uj, ai, aj = usr[:, :, None], usr[:, None], ans[:, :, None], ans[:, None]
    mask = (uj == 0) | ((uj == ui) & ((aj == 0) | (aj == ai)))
    mask &= torch.ones(t, t, dtype=torch.bool).tril()
    mask |= torch.eye(t, dtype=torch.bool)
    return ids, pos, mask[:, None], lab
