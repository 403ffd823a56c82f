#!/usr/bin/env python3
"""Evaluates the exported weights: python model/evaluate.py [--samples 240] [--write] [--threads 2]

Perplexity on answers (seen and unseen combinations of area, document type and section),
well-formedness of sampled answers, and samples as they came.
"""

import argparse
import math
import os
import random
import re
import time

import torch
from tokenizers import Tokenizer

import data
from llama import load_weights
from train import held_loss


def faults(user, text):
    """Names of the checks an answer fails."""
    bad = []
    offered = set(re.findall(r"^\[([^\]\n]+)\]", user, re.M))
    if re.search(r"\d", text):
        bad.append("digit")
    outline = re.search(r"outline with (\d+) sections", user)
    if outline:
        rows = text.split("\n")
        if len(rows) != int(outline.group(1)):
            bad.append("count")
        if not all(re.fullmatch(r"- \S[^\[\]]*", row) for row in rows):
            bad.append("form")
        if len({row.lower() for row in rows}) != len(rows):
            bad.append("repetition")
        return bad
    if not text.endswith("."):
        bad.append("ending")
    if len(re.findall(r"[.!?](?= |$)", text)) != int(re.search(r"Write (\d+) sentences", user).group(1)):
        bad.append("count")
    if re.search(r"\n|[*#`]", text):
        bad.append("form")
    used = re.findall(r"\[([^\]]*)\]", text)
    if any(name not in offered for name in used) or text.count("[") != len(used):
        bad.append("unknown fact")
    words = text.split()
    grams = [tuple(words[i:i + 6]) for i in range(len(words) - 5)]
    sentences = re.split(r"(?<=\.) ", text)
    if len(set(grams)) != len(grams) or len(set(sentences)) != len(sentences):
        bad.append("repetition")
    return bad


class Rules:
    """What a careful decoder allows for one prompt: offered facts, no digit, the right count."""

    def __init__(self, tok, user):
        self.vocab = {i: t for t, i in tok.get_vocab().items()}
        self.digits = [i for i, t in self.vocab.items() if re.search(r"\d", t)]
        self.opens = [i for i, t in self.vocab.items() if t.endswith("[")]
        self.closes = [i for i, t in self.vocab.items() if "]" in t and not t.endswith("[")]
        self.newline = tok.encode("\n").ids[0]
        outline = re.search(r"outline with (\d+) sections", user)
        self.outline = bool(outline)
        self.count = int((outline or re.search(r"Write (\d+) sentences", user)).group(1))
        self.names = [tok.encode(n).ids for n in re.findall(r"^\[([^\]\n]+)\]", user, re.M)]
        self.done, self.inside, self.last = 0, None, None

    def limit(self, logits):
        """Masks the logits for the next token."""
        logits[self.digits] = -1e9
        logits[[data.PAD, data.SYSTEM, data.USER, data.ASSISTANT]] = -1e9
        only = None
        if self.inside is not None:
            n = len(self.inside)
            only = {ids[n] for ids in self.names if ids[:n] == self.inside and len(ids) > n}
            if self.inside in self.names:
                only |= set(self.closes)
        elif self.outline:
            logits[self.opens] = -1e9
            logits[self.newline if self.done == self.count - 1 else data.END] = -1e9
        elif self.done == self.count:
            only = {data.END}
        else:
            logits[data.END] = -1e9
            logits[self.newline] = -1e9
        if only is not None:
            keep = list(only)
            kept = logits[keep].clone()
            logits[:] = -1e9
            logits[keep] = kept

    def add(self, token):
        text = self.vocab[token]
        if self.outline:
            self.done += token == self.newline
        elif text.endswith("."):
            self.done += 1
        if token in self.opens:
            self.inside = []
        elif self.inside is not None:
            self.inside = None if token in self.closes else self.inside + [token]


@torch.no_grad()
def sample(model, tok, asked, generator, rules=False, limit=200, temperature=0.7, top_p=0.9, batch=60):
    """Answers (texts) to many prompts; prompts of similar length share a batch."""
    ids = [data.prompt_ids(tok, s, u) for s, u in asked]
    order, texts = sorted(range(len(ids)), key=lambda i: len(ids[i])), [None] * len(ids)
    for start in range(0, len(order), batch):
        rows = order[start:start + batch]
        size, b = max(len(ids[i]) for i in rows), len(rows)
        pad = torch.tensor([size - len(ids[i]) for i in rows])
        x = torch.tensor([[data.PAD] * (size - len(ids[i])) + ids[i] for i in rows])
        at = torch.arange(size)
        pos = (at[None] - pad[:, None]).clamp(min=0)
        real = at[None] >= pad[:, None]
        mask = (torch.ones(size, size, dtype=torch.bool).tril()[None] & real[:, None]) | torch.eye(size, dtype=torch.bool)[None]
        mask, caches = mask[:, None], [[] for _ in model.model.layers]
        out, live = [[] for _ in rows], [True] * b
        rule = [Rules(tok, asked[i][1]) for i in rows] if rules else None
        for _ in range(limit):
            logits = model.head(model.hidden(x, pos, mask, caches)[:, -1])
            if rules:
                for j in range(b):
                    if live[j]:
                        rule[j].limit(logits[j])
            p, index = torch.softmax(logits / temperature, -1).sort(-1, descending=True)
            p[p.cumsum(-1) - p > top_p] = 0
            token = index.gather(1, torch.multinomial(p, 1, generator=generator))
            for j in range(b):
                t = int(token[j])
                if live[j] and t == data.END:
                    live[j] = False
                elif live[j]:
                    out[j].append(t)
                    if rules:
                        rule[j].add(t)
            if not any(live):
                break
            real = torch.cat((real, torch.ones(b, 1, dtype=torch.bool)), 1)
            x, pos, mask = token, pos[:, -1:] + 1, real[:, None, None]
        for j, i in enumerate(rows):
            texts[i] = tok.decode(out[j], skip_special_tokens=False)
    return texts


# Words that deny an aim. The product leaves sentences with such words out.
FALLING = r"fell|falls?|fallen|falling|decreas\w*|declin\w*|drop(ped)?|lower|below|loss|weaker|unchanged|same level"
RISING = r"rose|rises?|risen|rising|increas\w*|gr[eo]w\w*|higher|above|gain\w*|stronger|improved|unchanged|same level"
ENDED = r"resolved|rolled back|closed|fixed|restored|back to normal|is over"
DENIALS = {
    "increase": FALLING, "decrease": RISING, "the incident is open": ENDED, "an issue was reported": ENDED,
    "the incident is resolved": r"(still|remains) open|ongoing|not yet|under investigation|being examined|is still|rolled back",
}


def aims(model, tok, count, seed):
    """How many of `count` answers, of those that have such an aim, say the opposite, and an example."""
    asked = [(s, u) for s, u in prompts("train.jsonl", 40 * count, seed)
             if (aim := re.search(r"^Aim: (.*)$", u, re.M)) and aim.group(1) in DENIALS][:count]
    texts = sample(model, tok, asked, torch.Generator().manual_seed(seed), rules=True)
    wrong = [(aim, text) for (_, user), text in zip(asked, texts) if re.search(
        rf"\b({DENIALS[(aim := re.search(r'^Aim: (.*)$', user, re.M).group(1))]})\b", re.sub(r"\[[^\]]*\]", "", text))]
    return len(wrong), len(asked), f"{wrong[0][0]}: {wrong[0][1]}" if wrong else "none"


def prompts(name, count, seed, skip=0):
    pool = [(g["system"], p["user"]) for i, g in enumerate(data.groups(name)) if i >= skip for p in g["prompts"]]
    return random.Random(seed).sample(pool, min(count, len(pool)))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--samples", type=int, default=240)
    ap.add_argument("--seed", type=int, default=5)
    ap.add_argument("--groups", type=int, default=300, help="groups for the perplexity")
    ap.add_argument("--show", type=int, default=24)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--write", action="store_true", help="write EVALUATION.md")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    folder = os.path.join(data.HERE, "weights")
    model, tok = load_weights(folder), Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    seen = held_loss(model, data.tokenised(tok, "train.jsonl", args.groups))
    unseen = held_loss(model, data.tokenised(tok, "heldout.jsonl", args.groups))
    gen = torch.Generator().manual_seed(args.seed)
    half = args.samples // 2
    asked = prompts("heldout.jsonl", half, args.seed) + prompts("train.jsonl", args.samples - half, args.seed)
    random.Random(args.seed).shuffle(asked)
    start = time.time()
    free = sample(model, tok, asked, gen)
    speed = sum(len(tok.encode(t).ids) for t in free) / (time.time() - start)
    guided = sample(model, tok, asked, torch.Generator().manual_seed(args.seed), rules=True)

    denied, aimed, example = aims(model, tok, args.samples // 2, args.seed)

    def tally(texts):
        count, good, kinds = {}, 0, {"prose": [0, 0], "outline": [0, 0]}
        for (_, user), text in zip(asked, texts):
            bad = faults(user, text)
            kind = kinds["outline" if "Write an outline" in user else "prose"]
            kind[1] += 1
            kind[0] += not bad
            good += not bad
            for x in bad:
                count[x] = count.get(x, 0) + 1
        failed = ", ".join(f"{k} {v}" for k, v in sorted(count.items())) or "none"
        return (f"{good} of {len(texts)} well formed (prose {kinds['prose'][0]} of {kinds['prose'][1]}, "
                f"outlines {kinds['outline'][0]} of {kinds['outline'][1]}); failed checks: {failed}")

    used = total = 0
    for (_, user), text in zip(asked, guided):
        if "Write an outline" not in user:
            offered = set(re.findall(r"^\[([^\]\n]+)\]", user, re.M))
            total += len(offered)
            used += len(offered & set(re.findall(r"\[([^\]]*)\]", text)))
    shown = [(s, u, t, faults(u, t)) for (s, u), t in zip(asked, guided)][:args.show]
    lines = [
        "# Evaluation", "",
        "Written by `python model/evaluate.py --write` from the exported f16 weights.", "",
        f"* Perplexity on answers, seen combinations of area, document type and section (first groups of the training file, some of them trained on): {math.exp(seen):.3f} ({seen:.4f} nats per token)",
        f"* Perplexity on answers, unseen combinations: {math.exp(unseen):.3f} ({unseen:.4f} nats per token)",
        f"* Sampled answers: {len(asked)} (half of them for unseen combinations), temperature 0.7, top-p 0.9, seed {args.seed}",
        f"* Free decoding: {tally(free)}",
        f"* Decoding with the rules a product should apply (class `Rules`: offered names only in brackets, no digits, end after the requested count): {tally(guided)}",
        f"* Offered facts that the guided prose mentions: {used} of {total}",
        f"* Answers that deny their aim by a list of words (increase, decrease, state of an incident): {denied} of {aimed}; the first: {example}",
        f"* Generation speed in PyTorch, batches of 60, during the evaluation: {speed:.0f} tokens/s on a busy machine", "",
        "The perplexity is that of a synthetic corpus with a limited number of sentence patterns; it says nothing about text at large.",
        "Checks: the text ends with a full stop, has exactly the requested number of sentences (or lines), contains no digit, uses only",
        "facts that the prompt offers, no markup, no repeated sequence of six words, no repeated sentence or heading.", "",
        "## Samples, as they came (decoding with the rules)", "",
    ]
    for system, user, text, bad in shown:
        head = " / ".join(x.split(": ", 1)[1] for x in system.split("\n")[:2])
        lines += [f"### {head}", "", "```", user, "```", "", "```", text, "```", "", f"Failed checks: {', '.join(bad)}" if bad else "All checks passed.", ""]
    report = "\n".join(lines)
    print(report)
    if args.write:
        with open(os.path.join(data.HERE, "EVALUATION.md"), "w", encoding="utf-8") as f:
            f.write(report)


if __name__ == "__main__":
    main()
