#!/usr/bin/env python3
"""Writes model/weights/phrases.bin: which word may follow which in the corpus.

python model/corpus/phrases.py          (after build.py)

The file is one automaton with two starts, for sentences and for headings.  A state stands for the last five words of
a sentence (two of a heading); its transitions are the words that follow them somewhere in the training part of the
corpus, punctuation included.  States with the same future are merged.  A fact the corpus knows by name stays itself,
any other is [*].  The decoder of the shipped model follows the automaton, so that every run of six words it writes
stands in the corpus; which of them, the model decides.

Layout, little endian: magic, then u32 counts of words, word bytes, states, transitions, the two starts; u32 ends of
the words, the words in byte order; u32 ends of the states; transitions as u32 word, u32 next state in word order.
A next state of 0xffffffff ends the sentence or heading.
"""

import json
import os
import re
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import special_engineering as eng  # noqa: E402
import special_weekly as wk  # noqa: E402
from facts import FACTS  # noqa: E402
from special_finance_legal import CONTRACT_FACTS, INVOICE_FACTS  # noqa: E402

MAGIC = b"BULPHR01"
END = 0xFFFFFFFF
SENTENCE_CONTEXT, HEADING_CONTEXT = 5, 2
KNOWN = {"subject", *FACTS, *INVOICE_FACTS, *CONTRACT_FACTS, *wk.WEEKLY_FACTS, *eng.RELEASE_FACTS, *eng.INCIDENT_FACTS}


def normal(word):
    return re.sub(r"\[([a-z_]+)\]", lambda m: m.group(0) if m.group(1) in KNOWN else "[*]", word)


def collect():
    graph = {}

    def add(kind, size, words):
        context = (kind,)
        for word in words[:-1]:
            after = (kind, *(context[1:] + (word,))[-size:])
            graph.setdefault(context, {})[word] = after
            context = after
        graph.setdefault(context, {})[words[-1]] = None

    with open(os.path.join(HERE, "..", "build", "train.jsonl"), encoding="utf-8") as f:
        for line in f:
            for prompt in json.loads(line)["prompts"]:
                outline = "Write an outline" in prompt["user"]
                for answer in prompt["answers"]:
                    if outline:
                        for row in answer.split("\n"):
                            words = row.removeprefix("- ").split(" ")
                            add("heading", HEADING_CONTEXT, words[:-1] + [words[-1] + "\n"])
                    else:
                        for sentence in re.split(r"(?<=[.!?]) ", answer):
                            add("sentence", SENTENCE_CONTEXT, [normal(word) for word in sentence.split(" ")])
    return graph


def merged(graph):
    """Class of each context: two are one when the same words lead to the same classes (Moore 1956)."""
    classes, count = dict.fromkeys(graph, 0), 1
    while True:
        signature = {c: tuple(sorted((w, -1 if n is None else classes[n]) for w, n in out.items())) for c, out in graph.items()}
        numbers = {s: i for i, s in enumerate(sorted(set(signature.values())))}
        classes = {c: numbers[s] for c, s in signature.items()}
        if len(numbers) == count:
            return classes, {numbers[s]: s for s in numbers}
        count = len(numbers)


def main():
    graph = collect()
    classes, states = merged(graph)
    words = sorted({w.encode() for out in graph.values() for w in out})
    index = {w: i for i, w in enumerate(words)}
    rows = [sorted((index[w.encode()], END if n < 0 else n) for w, n in states[i]) for i in range(len(states))]
    transitions = sum(map(len, rows))
    out = [MAGIC, struct.pack("<6I", len(words), sum(map(len, words)), len(rows), transitions,
                              classes[("sentence",)], classes[("heading",)])]
    end = 0
    for word in words:
        end += len(word)
        out.append(struct.pack("<I", end))
    out.extend(words)
    end = 0
    for row in rows:
        end += len(row)
        out.append(struct.pack("<I", end))
    out.extend(struct.pack("<2I", *pair) for row in rows for pair in row)
    path = os.path.join(HERE, "..", "weights", "phrases.bin")
    with open(path, "wb") as f:
        f.write(b"".join(out))
    print(f"{len(words)} words, {len(graph)} contexts, {len(rows)} states, {transitions} transitions, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
